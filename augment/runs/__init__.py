"""One run of a recipe."""
