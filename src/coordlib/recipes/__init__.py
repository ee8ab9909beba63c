"""Locks, elections and barriers, on the public :class:`coordlib.Session` alone.

* :class:`Lock`: one holder at a time, in the order of arrival (``lock``)
* :class:`Election`: a function that runs only while leading (``election``)
* :class:`Grant`: what a holder or leader can prove (``grant``)
* :class:`Barrier`: a gate for everybody (``barrier``)
* :class:`DoubleBarrier`: begin together, end together (``double_barrier``)

::

    Lock   Election     Barrier   DoubleBarrier
      └─ waiting_line ─┐   │           │
             └─ grant  └─ znodes ──────┘

A recipe object describes: a session and a path. What it holds is in the block
that holds it. Three things are true of all recipes:

* They never outlive the session. When it can no longer be relied on, which is
  known by the clock before the ensemble gives anything to anybody else, the
  block is *cancelled* and ends with a :exc:`coordlib.SessionError`.
* Leaving by cancellation or by an error, at any point, leaves no znode behind
  but the parents: containers, which the ensemble deletes some time after the
  last participant has gone.
* Patience is the caller's: use ``trio.fail_after``.
"""

from .barrier import Barrier
from .double_barrier import DoubleBarrier
from .election import Election
from .grant import Grant
from .lock import Lock

__all__ = ["Barrier", "DoubleBarrier", "Election", "Grant", "Lock"]
