"""The tab Take away: files, links and code of a run, and a run filled in from them."""
