"""Pairs of texts in, token shards out. `build.py` is the whole way at a glance."""
