"""A first recipe from files alone."""
