"""The tab Video: a phrase through a clip."""
