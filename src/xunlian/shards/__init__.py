"""Token shards: written, opened, checked, read as one long sequence."""
