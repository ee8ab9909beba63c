"""Who may do what with a znode: access control lists and how they match.

An ACL grants: what no entry grants is refused, and neither the znodes above nor
the order of entries matter. Pure, and equal on every member, because it decides
what a transaction does. How a credential becomes an identity is not known here
(:mod:`coordlib.session.authentication`); the tree only compares.

Of the schemes, the tree knows ``world``, ``auth``, ``digest``, ``ip`` and
``super``. It takes every other one for that of a plug-in and matches it by
equality: a rule that depended on one member's plug-ins would make trees differ.
"""

from __future__ import annotations

from enum import IntFlag
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import attrs

from coordlib.errors import InvalidAclError

__all__ = [
    "ACL_ENTRIES_MAX",
    "CREATOR_ALL_ACL",
    "IDENTITIES_MAX",
    "IDENTITY_CHARS_MAX",
    "OPEN_ACL_UNSAFE",
    "READ_ACL_UNSAFE",
    "SUPERUSER",
    "Acl",
    "Identity",
    "Permission",
    "allows",
    "expand_acl",
    "is_identity",
    "masked",
    "shown",
    "validate_acl",
]

# Part of the replicated rules, each far above any use: an ACL is searched at
# every operation, and a snapshot holds what sessions are.
ACL_ENTRIES_MAX = 1024
IDENTITY_CHARS_MAX = 1024
IDENTITIES_MAX = 64


class Permission(IntFlag):
    """What an ACL may grant, with ZooKeeper's numbers (``ZooDefs.Perms``)."""

    NONE = 0
    # To read data and ACL of the znode and to list its children.
    READ = 1
    # To set its data.
    WRITE = 2
    # To create children.
    CREATE = 4
    # To delete children.
    DELETE = 8
    # To set its ACL.
    ADMIN = 16
    ALL = 31


@attrs.frozen
class Identity:
    """Who somebody is, or, in an ACL, who is meant.

    Attributes:
      scheme: What kind of identity, which decides how it matches:

        * ``"world"``: everybody; its id is ``"anyone"``.
        * ``"auth"``: in an ACL only: whoever sets it, with all identities that
          the session has then. The id is ignored.
        * ``"digest"``: ``"user:hash"``, see :func:`coordlib.digest_identity`.
        * ``"ip"``: an address; in an ACL also ``"address/bits"``.
        * any other: that of a plug-in, matched by equality.
      id: Whom, at most 1024 characters.

    """

    scheme: str
    id: str


@attrs.frozen
class Acl:
    """One entry of an ACL: these permissions for this identity.

    Attributes:
      permissions: What it grants; ``Permission.NONE`` grants nothing.
      identity: To whom.

    """

    permissions: Permission
    identity: Identity


_ANYONE = Identity("world", "anyone")

OPEN_ACL_UNSAFE: tuple[Acl, ...] = (Acl(Permission.ALL, _ANYONE),)
"""Everybody may do everything. The default, as the ensemble is yours."""

READ_ACL_UNSAFE: tuple[Acl, ...] = (Acl(Permission.READ, _ANYONE),)
"""Everybody may read, and nobody may do anything else."""

CREATOR_ALL_ACL: tuple[Acl, ...] = (Acl(Permission.ALL, Identity("auth", "")),)
"""Whoever creates the znode may do everything, and nobody else anything. The
session needs an identity, see :meth:`coordlib.Session.add_auth`."""

SUPERUSER = Identity("super", "")
"""Its owner passes every check."""

# What "auth" does not stand for: an address proves nobody's identity, and the
# superuser needs no entry.
_NOT_AUTHENTICATED = frozenset({"ip", "super"})


def allows(
    acl: tuple[Acl, ...], permission: Permission, identities: tuple[Identity, ...]
) -> bool:
    """Tell whether ``acl`` grants one of these permissions to such a session.

    Args:
      acl: A znode's.
      permission: Of several, one is enough.
      identities: The session's.

    Source:
      ``ZooKeeperServer.checkACL``.

    """
    # By far the most frequent; there is one copy of it.
    if acl is OPEN_ACL_UNSAFE or SUPERUSER in identities:
        return True
    for entry in acl:
        # Not "&": that of flags takes longer than all the rest of this.
        if int.__and__(entry.permissions, permission):
            meant = entry.identity
            if meant == _ANYONE or meant in identities:
                return True
            if meant.scheme == "ip" and _is_in_network(identities, meant.id):
                return True
    return False


def validate_acl(path: str, acl: tuple[Acl, ...]) -> None:
    """Check that ``acl`` can be that of a znode at ``path``, for the error.

    Raises:
      InvalidAclError: It is empty or too long, or an entry is malformed; the
        reason is in the error.

    Source:
      ``PrepRequestProcessor.fixupACL``, ``AuthenticationProvider.isValid``.

    """
    if acl is OPEN_ACL_UNSAFE:
        return
    if not 1 <= len(acl) <= ACL_ENTRIES_MAX:
        reason = f"{len(acl)} entries in the ACL; 1 to {ACL_ENTRIES_MAX} are possible"
        raise InvalidAclError(path, reason)
    for entry in acl:
        meant = entry.identity
        if not is_identity(meant) or not _may_be_meant(meant):
            reason = f"{meant.scheme}:{meant.id} cannot be in an ACL"
            raise InvalidAclError(path, reason)
        if not 0 <= entry.permissions <= Permission.ALL:
            raise InvalidAclError(path, f"permissions {int(entry.permissions)}")


def expand_acl(
    path: str, acl: tuple[Acl, ...], identities: tuple[Identity, ...]
) -> tuple[Acl, ...]:
    """Return a validated ACL as the znode gets it: ``auth`` replaced by who asks.

    Entries that come twice are dropped first, as in ZooKeeper; so a duplicate
    that only comes of the replacement stays.

    Raises:
      InvalidAclError: ``auth`` is in it and the session is nobody; or it has
        become too long.

    Source:
      ``PrepRequestProcessor.fixupACL``.

    """
    if acl is OPEN_ACL_UNSAFE:
        return acl
    known = [i for i in identities if i.scheme not in _NOT_AUTHENTICATED]
    expanded: list[Acl] = []
    for entry in dict.fromkeys(acl):
        if entry.identity.scheme != "auth":
            expanded.append(entry)
        elif known:
            expanded += [Acl(entry.permissions, identity) for identity in known]
        else:
            raise InvalidAclError(path, "auth in the ACL of a session without identity")
    if len(expanded) > ACL_ENTRIES_MAX:
        raise InvalidAclError(path, f"an ACL of more than {ACL_ENTRIES_MAX} entries")
    return tuple(expanded)


def masked(acl: tuple[Acl, ...]) -> tuple[Acl, ...]:
    """Return the ACL without the hashes of passwords, for those who may not see.

    Source:
      ``FinalRequestProcessor``, the case of ``OpCode.getACL``.

    """
    return tuple(
        [
            Acl(entry.permissions, Identity("digest", _user_of(entry.identity) + ":x"))
            if entry.identity.scheme == "digest"
            else entry
            for entry in acl
        ]
    )


def shown(identity: Identity) -> Identity:
    """Return who that is to anybody who asks: without the hash of a password.

    Source:
      ``AuthenticationProvider.getUserName``.

    """
    if identity.scheme == "digest":
        return Identity("digest", _user_of(identity))
    return identity


def is_identity(identity: Identity) -> bool:
    """Tell whether it has a scheme and is not too long."""
    longest = max(len(identity.scheme), len(identity.id))
    return bool(identity.scheme) and longest <= IDENTITY_CHARS_MAX


def _user_of(digest: Identity) -> str:
    return digest.id.partition(":")[0]


def _is_in_network(identities: tuple[Identity, ...], expression: str) -> bool:
    network = _network_of(expression)
    if network is None:
        return False
    for identity in identities:
        if identity.scheme == "ip":
            own = _network_of(identity.id)
            if own is not None and own.network_address in network:
                return True
    return False


def _network_of(expression: str) -> IPv4Network | IPv6Network | None:
    """Return which addresses ``"address"`` or ``"address/bits"`` stands for."""
    address, slash, bits = expression.partition("/")
    # Python's own parser is more generous: scopes, and masks in place of bits.
    if "%" in address or (slash and not (bits.isascii() and bits.isdigit())):
        return None
    try:
        ip_address(address)
        return ip_network(expression, strict=False)
    except ValueError:
        return None


def _may_be_meant(identity: Identity) -> bool:
    match identity.scheme:
        case "world":
            return identity == _ANYONE
        case "digest":
            # Java's split(":"), which drops empty ends, gives two parts.
            return identity.id.rstrip(":").count(":") == 1
        case "ip":
            return _network_of(identity.id) is not None
        case scheme:
            return scheme != SUPERUSER.scheme
