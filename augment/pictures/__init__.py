"""Pictures: decoding, real edits, encoders."""
