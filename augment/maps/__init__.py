"""From what an item is to how it behaves, one map a file: see `augment.contracts.content_map`."""
