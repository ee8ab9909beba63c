"""Whole ensembles simulated from one seed: every fault on demand, no waiting.

The real consensus core, tree, log and request books of every member run in one
thread over a simulated network, disks and clocks. No trio, no threads, no clock:
the same seed is the same story, to the last event. Oracles look at it from
outside after every step.

* ``simulation``: :func:`simulate`: one seed, from faults to life to its verdict
* ``shrink``: :func:`shrink`: which faults a violation really needs
* ``profile``: what a seed is like: swarm testing
* ``faults``, ``strike``, ``process_faults``, ``network_faults``, ``disk_faults``:
  what goes wrong
* ``situations``: :data:`SITUATIONS`: what many seeds must reach
* ``oracles``, ``image``: what must never happen; what disks really hold
* ``reign``: what a leader has to give up, and how soon
* ``watcher``: a client that sees changes only
* ``notes``: what clients were told, and whether it is true
* ``world``: seats, disks and clocks that outlive processes
* ``process``, ``service``, ``workers``: one start of a member, its sessions, its
  clients: the counterparts of ``coordlib.replica`` without trio
* ``store``, ``disk``, ``network``, ``clock``: what members run on
* ``kernel``: the heap of events, the random streams, the trace hash
"""

from .kernel import SECOND, Violation
from .shrink import shrink
from .simulation import Outcome, simulate
from .situations import SITUATIONS

__all__ = ["SECOND", "SITUATIONS", "Outcome", "Violation", "shrink", "simulate"]
