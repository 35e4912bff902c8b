"""What a night's figures are held to."""
