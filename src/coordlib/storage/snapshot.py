"""The bytes of a snapshot file: a head that proves the body.

Pure. All numbers are big-endian::

    8s  magic "coordsnp"         Q   zxid
    H   format version           Q   length of the body
    H   member                   16s BLAKE2b of all above and of the body
    16s hash of the name         ..  body
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import blake2b

from coordlib.errors import CorruptLogError

from .record import Identity, check_version

__all__ = ["decode_snapshot", "encode_snapshot"]

_MAGIC = b"coordsnp"
_NUMBERS = struct.Struct(">QQ")
_DIGEST_SIZE = 16


def encode_snapshot(
    zxid: int, pieces: Sequence[bytes], identity: Identity
) -> list[bytes]:
    """Return the file that holds the tree's state at ``zxid``, to be joined.

    Not joined here: a copy of so much would keep every other thread waiting.
    """
    size = sum(map(len, pieces))
    head = identity.prefix(_MAGIC) + _NUMBERS.pack(zxid, size)
    return [head, _digest(head, pieces), *pieces]


def decode_snapshot(file: str, zxid: int, data: bytes, identity: Identity) -> bytes:
    """Return the body of the snapshot file ``data``, which should be of ``zxid``.

    Raises:
      CorruptLogError: It is damaged.
      ForeignStorageError: It belongs to another member or ensemble.
      StorageError: It has a format of another version.

    """
    digest_at = len(identity.prefix(_MAGIC)) + _NUMBERS.size
    body_at = digest_at + _DIGEST_SIZE
    head, body = data[:digest_at], data[body_at:]
    digest = data[digest_at:body_at]
    if data[: len(_MAGIC)] != _MAGIC or digest != _digest(head, [body]):
        raise CorruptLogError(file, 0, "the snapshot is damaged")
    check_version(file, data)
    identity.check(file, data)
    if _NUMBERS.unpack_from(head, digest_at - _NUMBERS.size) != (zxid, len(body)):
        raise CorruptLogError(file, 0, "the snapshot is of another zxid than its name")
    return body


def _digest(head: bytes, pieces: Sequence[bytes]) -> bytes:
    digest = blake2b(head, digest_size=_DIGEST_SIZE)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()
