"""Versioned tables: one commit, one version."""
