"""The tab Refine: a person's marks beside the phrase."""
