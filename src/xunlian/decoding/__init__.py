"""Generating text: the cache, the fast forward pass, sampling, the loop, text as it comes."""
