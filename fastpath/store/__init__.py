"""The packed store: NumPy shards, an index and a manifest in one directory."""
