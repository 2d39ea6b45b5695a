"""Bytes of any format in, documents out. `readers.py` says which format is read by what."""
