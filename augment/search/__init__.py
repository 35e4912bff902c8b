"""The portfolio search."""
