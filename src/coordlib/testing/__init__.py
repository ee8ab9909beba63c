"""Whole ensembles in one process, for your tests and ours; and what they must do.

* ``ensemble``: :class:`MemoryEnsemble`: members on an in-memory network with
  in-memory disks, faults on demand, and virtual time under trio's ``MockClock``
* ``cancelling``: :func:`cancel_everywhere`: your code cancelled at each checkpoint
* ``simulation``, ``simulate``: ensembles of pure parts from one seed, without trio,
  some hundred simulated hours an hour
* ``history``: :class:`Recorder`: who called what when, and what came of it
* ``model``: the tree as the shortest possible specification
* ``witness``: :func:`check_history`: a history against the committed log, carried
  out once more by the model
* ``linearizability``, ``znode_model``: :func:`linearize`: an order that explains
  a history, of znodes or of your own service
"""

from .cancelling import cancel_everywhere
from .ensemble import MemoryEnsemble
from .history import (
    Call,
    Exists,
    Get,
    GetChildren,
    History,
    Recorder,
    Refusal,
    Sync,
)
from .linearizability import Attempt, Model, Verdict, linearize
from .witness import (
    Contradiction,
    Rule,
    check_history,
    committed_log,
    decode_log,
)
from .znode_model import linearize_history

__all__ = [
    "Attempt",
    "Call",
    "Contradiction",
    "Exists",
    "Get",
    "GetChildren",
    "History",
    "MemoryEnsemble",
    "Model",
    "Recorder",
    "Refusal",
    "Rule",
    "Sync",
    "Verdict",
    "cancel_everywhere",
    "check_history",
    "committed_log",
    "decode_log",
    "linearize",
    "linearize_history",
]
