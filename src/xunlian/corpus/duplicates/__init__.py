"""Copies, exact and near, in a corpus of any size. `tasks.py` is how a job finds them."""
