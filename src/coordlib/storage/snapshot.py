"""The bytes of a snapshot file: a head, chunks that prove themselves, an end.

Pure; whatever is read is taken for hostile. ``docs/formats.md`` is the same,
byte by byte. All numbers are big-endian. The *head* is the same in all versions
of the format, so that damage is told from a version that we do not know::

    8s  magic "coordsnp"         Q   zxid
    H   format version           I   CRC-32 of all above
    H   member
    16s hash of the name

A *chunk*, which is content of up to 64 KiB, and the *end*, of length 0::

    I   length of the content    I   0
    I   CRC-32 of the length     I   CRC-32 of all the rest of the end
        and the content          Q   number of chunks
    ..  content                  Q   length of all content
                                 16s BLAKE2b of all before the end

These CRCs start from a number made of the head's and of the offset in the file,
so a good chunk in a wrong place or from another file counts as damage. Nobody
needs to know a size in advance, and nobody needs more memory than for a chunk.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from zlib import crc32

from coordlib.errors import CorruptLogError

from .record import PREFIX_SIZE, Identity, reader_of

__all__ = ["CHUNK_BYTES_MAX", "Read", "encode_snapshot", "read_snapshot", "zxid_in"]

Read = Callable[[int, int], bytes]
"""Returns the bytes at an offset: so many, or fewer where the file ends."""

# Little enough to be decoded without a stop, and a piece of the tree fits.
CHUNK_BYTES_MAX = 1 << 16

_MAGIC = b"coordsnp"
_ZXID = struct.Struct(">Q")
_CRC = struct.Struct(">I")
_CHUNK = struct.Struct(">II")
_END = struct.Struct(">QQ16s")
_DIGEST_SIZE = 16


def encode_snapshot(
    zxid: int, pieces: Iterable[bytes], identity: Identity
) -> Iterator[bytes]:
    """Yield the file that holds the tree's state at ``zxid``, block by block."""
    head = identity.prefix(_MAGIC) + _ZXID.pack(zxid)
    place = crc32(head)
    head += _CRC.pack(place)
    yield head
    digest = blake2b(head, digest_size=_DIGEST_SIZE)
    offset, count, size = len(head), 0, 0
    for piece in pieces:
        for begin in range(0, len(piece), CHUNK_BYTES_MAX):
            content = piece[begin : begin + CHUNK_BYTES_MAX]
            chunk = _checked(len(content), content, place + offset)
            yield chunk
            digest.update(chunk)
            offset += len(chunk)
            count += 1
            size += len(content)
    yield _checked(0, _END.pack(count, size, digest.digest()), place + offset)


def zxid_in(read: Read) -> int:
    """Return of which state a snapshot says that it is; 0 if it is too short."""
    return int.from_bytes(read(PREFIX_SIZE, _ZXID.size))


def read_snapshot(
    file: str, zxid: int, read: Read, identity: Identity
) -> Iterator[bytes]:
    """Yield the content of a snapshot that should be of ``zxid``, chunk by chunk.

    Each chunk is good, but whether the file is complete is known at the end.

    Raises:
      CorruptLogError: It is damaged, in the chunk at the error's offset.
      ForeignStorageError: It belongs to another member or ensemble.
      StorageError: It has a format of a version that is unknown here.

    """
    size = len(identity.prefix(_MAGIC)) + _ZXID.size
    head = read(0, size + _CRC.size)
    good = head.startswith(_MAGIC) and head[size:] == _CRC.pack(crc32(head[:size]))
    _check(file, 0, "the snapshot's head is damaged", good=good)
    reader = reader_of(file, head, _READERS)
    identity.check(file, head)
    good = head[size - _ZXID.size : size] == _ZXID.pack(zxid)
    _check(file, 0, "the snapshot is of another zxid than its name", good=good)
    yield from reader(file, head, read)


def _read_chunks(file: str, head: bytes, read: Read) -> Iterator[bytes]:
    """Yield the content of version 1."""
    (place,) = _CRC.unpack(head[-_CRC.size :])
    digest = blake2b(head, digest_size=_DIGEST_SIZE)
    offset, count, size = len(head), 0, 0
    while True:
        prefix = read(offset, _CHUNK.size)
        good = len(prefix) == _CHUNK.size
        length = _CHUNK.unpack(prefix)[0] if good else 0
        good = good and length <= CHUNK_BYTES_MAX
        content = read(offset + _CHUNK.size, length or _END.size) if good else b""
        # Of a chunk that is cut off, the CRC is of less than was meant.
        good = good and prefix + content == _checked(length, content, place + offset)
        _check(file, offset, "a damaged or incomplete chunk", good=good)
        if not length:
            break
        yield content
        digest.update(prefix)
        digest.update(content)
        offset += len(prefix) + length
        count += 1
        size += length
    good = content == _END.pack(count, size, digest.digest())
    _check(file, offset, "the end is of another snapshot", good=good)
    good = not read(offset + len(prefix) + len(content), 1)
    _check(file, offset, "something follows the end", good=good)


# By version: a coming one reads this one's files, too.
_READERS: Mapping[int, Callable[[str, bytes, Read], Iterator[bytes]]] = {
    1: _read_chunks,
}


def _checked(length: int, content: bytes, place: int) -> bytes:
    """Return a chunk, or the end, for its place."""
    checksum = crc32(content, crc32(_CRC.pack(length), place & 0xFFFFFFFF))
    return _CHUNK.pack(length, checksum) + content


def _check(file: str, offset: int, damage: str, *, good: bool) -> None:
    if not good:
        raise CorruptLogError(file, offset, damage)
