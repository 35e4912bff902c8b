"""What labels samples: one small file each, found by name."""
