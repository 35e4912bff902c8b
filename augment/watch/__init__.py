"""What looks bought, flooded, drifted or collapsed."""
