"""The recipe: what it may say, and reading it."""
