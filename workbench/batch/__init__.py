"""Many phrases about many images: what is asked, the work, and the folder that keeps it."""
