"""Rows as the consumers need them."""
