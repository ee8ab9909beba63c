"""What an application does with the ensemble.

* ``session``: :class:`Session`: read, write, watch; what recipes are built on
* ``event_stream``: the events of one watch
* ``arguments``: what may be asked
* ``authentication``: how it proves who it is
"""

from .authentication import AuthenticationProvider, digest_identity
from .event_stream import EventStream
from .session import Session, Znode

__all__ = [
    "AuthenticationProvider",
    "EventStream",
    "Session",
    "Znode",
    "digest_identity",
]
