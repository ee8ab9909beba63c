"""What an application does with the ensemble.

* ``session``: :class:`Session`: read, write, watch; what recipes are built on
* ``event_stream``: the events of one watch
* ``one_shot``: a watch that is told of one change
* ``arguments``: what may be asked
* ``quotas``: what the znodes of a quota have to be
* ``authentication``: how it proves who it is
"""

from .authentication import AuthenticationProvider, digest_identity
from .event_stream import EventStream
from .one_shot import OneShotWatch
from .quotas import QuotaStatus
from .session import Session, Znode

__all__ = [
    "AuthenticationProvider",
    "EventStream",
    "OneShotWatch",
    "QuotaStatus",
    "Session",
    "Znode",
    "digest_identity",
]
