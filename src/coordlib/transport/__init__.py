"""Frames of bytes between members.

* ``interface``: the contract, :class:`Transport` and :class:`Link`
* ``framing``: headers, length limits and checksums (sans-I/O)
* ``memory``: a network inside one process, with latency, partitions and crashes
* ``tcp``: the real one
"""
