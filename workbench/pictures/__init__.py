"""Pictures of what was found and why, and pictures from and to files."""
