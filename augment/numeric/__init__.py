"""Numbers and vectors: measures, EASE, neighbours."""
