"""Ways to propose samples: one small file each, found by name."""
