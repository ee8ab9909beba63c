"""Frames of bytes between members.

* ``interface``: the contract, :class:`Transport` and :class:`Link`
* ``handshake``: who may have a link with whom (sans-I/O)
* ``memory``, ``memory_link``: a network inside one process, with latency,
  partitions and crashes
* ``tcp``, ``tcp_link``: the real one
* ``addresses``: which addresses the real one may use, and its sockets
* ``framing``: headers, length limits and checksums (sans-I/O)
"""
