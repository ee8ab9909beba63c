"""The encodable form of identities and ACLs, in transactions and snapshots.

The open ACL, which nearly every znode has, is ``None``; it has no other form.
"""

from __future__ import annotations

from coordlib.errors import ProtocolError

from . import fields as read
from .acl import (
    IDENTITIES_MAX,
    OPEN_ACL_UNSAFE,
    Acl,
    Identity,
    Permission,
    is_identity,
)

__all__ = [
    "acl_fields",
    "entry_fields",
    "identity_fields",
    "read_acl",
    "read_identities",
]


def identity_fields(identity: Identity) -> list[object]:
    """Return an identity as a list."""
    return [identity.scheme, identity.id]


def acl_fields(acl: tuple[Acl, ...]) -> list[object] | None:
    """Return an ACL as a list, which may be empty; ``None`` for the open one."""
    return None if acl == OPEN_ACL_UNSAFE else entry_fields(acl)


def entry_fields(acl: tuple[Acl, ...]) -> list[object]:
    """Return the entries of an ACL that is not the open one."""
    return [
        [int(entry.permissions), entry.identity.scheme, entry.identity.id]
        for entry in acl
    ]


def read_acl(value: object) -> tuple[Acl, ...]:
    """Return what :func:`acl_fields` was given; it need not be a valid ACL.

    Raises:
      ProtocolError: ``value`` is nothing of the kind.

    """
    if value is None:
        return OPEN_ACL_UNSAFE
    acl = tuple([_read_entry(entry) for entry in read.items(value)])
    if acl == OPEN_ACL_UNSAFE:
        raise ProtocolError("an open ACL that is not in its short form")
    return acl


def read_identities(value: object) -> tuple[Identity, ...]:
    """Return the identities that :func:`identity_fields` was given.

    Raises:
      ProtocolError: ``value`` is no list of such, or too long.

    """
    identities = tuple([_read_identity(identity) for identity in read.items(value)])
    if len(identities) > IDENTITIES_MAX:
        raise ProtocolError(f"{len(identities)} identities")
    return identities


def _read_identity(value: object) -> Identity:
    scheme, name = read.exactly(2, value)
    identity = Identity(read.text(scheme), read.text(name))
    if not is_identity(identity):
        raise ProtocolError("an identity without scheme, or too long")
    return identity


def _read_entry(value: object) -> Acl:
    permissions, scheme, name = read.exactly(3, value)
    granted = Permission(read.integer(permissions, 0, Permission.ALL))
    return Acl(granted, Identity(read.text(scheme), read.text(name)))
