"""How a session proves who it is: from a credential to identities.

That happens at the session's own member, before anything is proposed. What is
agreed upon, and logged, are identities; no credential leaves this process.
What an identity is allowed to do is decided in :mod:`coordlib.tree.acl`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha1
from typing import Protocol

import attrs

from coordlib.errors import AuthFailedError, ConfigError, InvalidAclError
from coordlib.tree import SUPERUSER, Acl, Identity

__all__ = [
    "Authentication",
    "AuthenticationProvider",
    "digest_identity",
    "providers_by_scheme",
]

_DIGEST = "digest"

# Those that the tree knows.
_BUILT_IN = frozenset({"world", "auth", _DIGEST, "ip", SUPERUSER.scheme})


class AuthenticationProvider(Protocol):
    """A plug-in that proves identities of a scheme of its own.

    In ACLs an entry with its scheme is matched by equality, so an identity that
    stands for a group is proved as one more id. Members without the provider
    apply what others proved, and only refuse to prove it themselves; so give
    the same ones to all.
    """

    @property
    def scheme(self) -> str:
        """The scheme: not one of ZooKeeper's own."""
        ...

    async def authenticate(self, credential: bytes) -> Sequence[str]:
        """Return the ids that ``credential`` proves; none refuses it.

        Called in the task that calls :meth:`.Session.add_auth`, and cancelled
        with it.

        Raises:
          AuthFailedError: The credential is refused, with a reason.

        """
        ...


def digest_identity(user: str, password: str) -> Identity:
    """Return the identity in the scheme ``digest`` of a user with a password.

    For ACLs; its id is also the form of :attr:`Config.superuser`. The hash is
    SHA-1 without salt, which is ZooKeeper's: whoever can read it can search for
    the password. :meth:`.Session.get_acl` shows it only to those who may set
    the ACL.

    Args:
      user: A name without ``":"``.
      password: Any text.

    Source:
      ``DigestAuthenticationProvider.generateDigest``.

    """
    return _digest_of(f"{user}:{password}")


def providers_by_scheme(
    providers: Sequence[AuthenticationProvider],
) -> dict[str, AuthenticationProvider]:
    """Return the plug-ins by their schemes.

    Raises:
      ConfigError: A scheme is empty, ZooKeeper's own, or there twice.

    """
    by_scheme: dict[str, AuthenticationProvider] = {}
    for provider in providers:
        scheme = provider.scheme
        if not scheme or scheme in _BUILT_IN or scheme in by_scheme:
            raise ConfigError(f"no scheme for a provider, or not any more: {scheme!r}")
        by_scheme[scheme] = provider
    return by_scheme


@attrs.frozen
class Authentication:
    """What a member can prove.

    Attributes:
      superuser: The id, in the scheme ``digest``, of who may do everything;
        empty for nobody.
      providers: The plug-ins, by scheme.

    """

    superuser: str = ""
    providers: Mapping[str, AuthenticationProvider] = attrs.field(factory=dict)

    async def prove(self, scheme: str, credential: bytes) -> tuple[Identity, ...]:
        """Return the identities that a credential proves; at least one.

        Raises:
          AuthFailedError: None, or there is no such scheme here.
          TypeError: The plug-in returns what it should not.

        """
        if scheme == _DIGEST:
            # As Java reads it, whatever the bytes.
            identity = _digest_of(credential.decode(errors="replace"))
            is_super = identity.id == self.superuser
            return (SUPERUSER, identity) if is_super else (identity,)
        provider = self.providers.get(scheme)
        if provider is None:
            raise AuthFailedError("", f"nobody here knows the scheme {scheme!r}")
        proved = await provider.authenticate(credential)
        if isinstance(proved, str):
            # It is a sequence of texts, too: of its letters.
            raise TypeError(f"a provider returns a list of ids, not {proved!r}")
        if not proved:
            raise AuthFailedError("", f"the credential for {scheme!r} proves nothing")
        return tuple([Identity(scheme, name) for name in proved])

    def check_schemes(self, path: str, acl: Sequence[Acl]) -> None:
        """Check that every entry of an ACL has a scheme that somebody can prove.

        Raises:
          InvalidAclError: One has not.

        """
        for entry in acl:
            scheme = entry.identity.scheme
            if scheme not in _BUILT_IN and scheme not in self.providers:
                raise InvalidAclError(path, f"nobody here knows the scheme {scheme!r}")


def _digest_of(credential: str) -> Identity:
    user, _, _ = credential.partition(":")
    # Weak, and ZooKeeper's: the form of every digest in every ACL there is.
    hashed = b64encode(sha1(credential.encode(), usedforsecurity=False).digest())
    return Identity(_DIGEST, f"{user}:{hashed.decode()}")
