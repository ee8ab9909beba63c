"""One number that tells whether two replicas hold the same state.

The sum, modulo 2^64, of one hash for each thing: so it depends neither on the
order of changes nor on that of iteration, and a change costs one subtraction.
Hashes are computed only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Generic, Protocol, TypeVar

from coordlib import encoding

__all__ = ["DIGEST_MAX", "DigestSum", "Digestible"]

DIGEST_MAX = (1 << 64) - 1


class Digestible(Protocol):
    """A thing that remembers its part of the sum; ``None``: not part of it now."""

    digest: int | None


_Key = TypeVar("_Key")
_Item = TypeVar("_Item", bound=Digestible)


class DigestSum(Generic[_Key, _Item]):
    """The sum over the items of one table.

    Args:
      describe: Returns everything of an item that replicas must agree upon, as
        an encodable value.
      items: The table itself.

    """

    __slots__ = ("_describe", "_items", "_pending", "_sum")

    def __init__(
        self, describe: Callable[[_Key, _Item], object], items: dict[_Key, _Item]
    ) -> None:
        self._describe = describe
        self._items = items
        self._sum = 0
        # Invariant: holds exactly the table's items whose digest is None; so
        # it cannot outgrow the table. None until somebody asks, which most
        # programs never do: then it would be a second table, as large.
        self._pending: dict[_Key, _Item] | None = None

    def add(self, key: _Key, item: _Item) -> None:
        """Count an item, new in the table."""
        item.digest = None
        if self._pending is not None:
            self._pending[key] = item

    def change(self, key: _Key, item: _Item) -> None:
        """Note that an item has changed, or is about to."""
        if item.digest is not None:
            self._sum -= item.digest
            self.add(key, item)

    def remove(self, key: _Key, item: _Item) -> None:
        """Forget an item that leaves the table."""
        if item.digest is not None:
            self._sum -= item.digest
        elif self._pending is not None:
            del self._pending[key]

    def value(self) -> int:
        """Hash what has changed and return the sum, 0 to :data:`DIGEST_MAX`."""
        pending = self._items if self._pending is None else self._pending
        for key, item in pending.items():
            content = encoding.encode(self._describe(key, item))
            digest = blake2b(content, digest_size=8).digest()
            item.digest = int.from_bytes(digest, "big")
            self._sum += item.digest
        self._pending = {}
        self._sum &= DIGEST_MAX
        return self._sum
