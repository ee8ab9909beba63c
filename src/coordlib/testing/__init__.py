"""Whole ensembles in one process, for your tests and ours.

* ``ensemble``: :class:`MemoryEnsemble`: members on an in-memory network with
  in-memory disks, faults on demand, and virtual time under trio's ``MockClock``
"""

from .ensemble import MemoryEnsemble

__all__ = ["MemoryEnsemble"]
