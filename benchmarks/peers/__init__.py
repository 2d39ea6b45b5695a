"""One file for each side of `time_to_loss.py`: how it is started, and what it tells.

Each side trains in a process of its own, from cold: compilers find an empty cache. The upper half
of a file is the benchmark's, the lower half (`child`) runs in that process and may import the peer.
"""
