"""Text: encoders, n-grams, typos, lexicons, translation."""
