"""Strict CBOR: one value has one encoding, and everything else is refused.

All structured bytes of coordlib, on the wire and on disk, pass through these
two functions. Pure; it knows no message and no record.

The decoder of cbor2 is generous by default: tags build regular expressions and
cyclic lists, trailing bytes are dropped, the last of two equal keys wins
(tried with cbor2 6.2.1; for depth see CVE-2026-26209). None of that may reach
us from a peer or a disk, so tags of every kind are refused, depth is bounded,
and the decoded value must encode to the very bytes it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

import cbor2

from coordlib.errors import ProtocolError

__all__ = ["DEPTH_MAX", "decode", "encode"]

# Our deepest value is a list of a list of a list (the operations of a multi).
DEPTH_MAX = 8


def encode(value: object) -> bytes:
    """Return the one encoding of ``value``: numbers, text, bytes, lists, dicts."""
    return cbor2.dumps(value)


def decode(data: bytes, *, canonical: bool = True) -> object:
    """Return the value that ``data`` is the encoding of.

    Args:
      data: What :func:`encode` returned, or anything.
      canonical: Whether other bytes for the same value are refused. That takes
        three quarters of the time, and is needless where only the value is kept.

    Raises:
      ProtocolError: ``data`` is no CBOR, holds a tag, is too deep, or is not
        what :func:`encode` gives for the value.

    """
    try:
        value: object = cbor2.loads(
            data,
            max_depth=DEPTH_MAX,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            semantic_decoders=_NO_TAGS,
        )
        is_good = not canonical or cbor2.dumps(value) == data
    except (cbor2.CBORError, ValueError, TypeError, OverflowError) as error:
        raise ProtocolError(f"not strict CBOR: {error}") from error
    if not is_good:
        raise ProtocolError("not the canonical encoding of its value")
    return value


class _RefuseTags(Mapping[int, Callable[[object, bool], object]]):
    """Claims a decoder for every tag, so that no default one is ever used.

    ``tag_hook`` would not do: cbor2 calls it only for tags it does not know.
    """

    def __getitem__(self, tag: int) -> Callable[[object, bool], object]:
        def refuse(*_: object) -> NoReturn:
            raise ProtocolError(f"CBOR tag {tag} is not allowed")

        return refuse

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        # An empty mapping might be taken for "no mapping given".
        return 1


_NO_TAGS = _RefuseTags()
