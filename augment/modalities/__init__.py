"""Kinds of rows: one file each, found by name."""
