"""A run told to others: as a recipe, a link, or code that repeats it."""
