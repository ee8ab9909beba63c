"""Frames in a stream of bytes: length, checksum, body.

Sans-I/O. What a body means is not known here. The CRC is there because TCP's
own checksum is known to let damage pass (Stone and Partridge, "When the CRC
and TCP checksum disagree", SIGCOMM 2000); it detects accidents, not attackers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from zlib import crc32

import attrs

from coordlib.errors import ProtocolError

__all__ = ["FrameParser", "encode_frames"]

# Length of the body, CRC-32 of the body.
_HEADER = struct.Struct(">II")


def encode_frames(bodies: Iterable[bytes]) -> bytes:
    """Return the bytes that carry ``bodies``, none of which may be empty."""
    parts: list[bytes] = []
    for body in bodies:
        parts += _HEADER.pack(len(body), crc32(body)), body
    return b"".join(parts)


@attrs.define(eq=False)
class FrameParser:
    """Takes a stream apart, however it is cut into chunks.

    Attributes:
      frame_bytes_max: The largest body; a larger one is refused when its
        header is there, before its bytes are kept.

    """

    frame_bytes_max: int
    # Invariant: the beginning of one frame; its header, if complete, is valid.
    _partial: bytearray = attrs.field(factory=bytearray, init=False)
    # How long ``_partial`` must get before there is anything to do.
    _bytes_needed: int = attrs.field(default=_HEADER.size, init=False)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the bodies that ``chunk`` completes, perhaps none.

        Raises:
          ProtocolError: A frame is empty, too large or damaged. The stream
            cannot be read any further.

        """
        if self._partial:
            self._partial += chunk
            if len(self._partial) < self._bytes_needed:
                return []
            chunk = bytes(self._partial)
            self._partial.clear()
        bodies: list[bytes] = []
        start, end = 0, len(chunk)
        self._bytes_needed = _HEADER.size
        while end - start >= _HEADER.size:
            length, checksum = _HEADER.unpack_from(chunk, start)
            if not 0 < length <= self.frame_bytes_max:
                raise ProtocolError(
                    f"a frame of {length} bytes; allowed are 1 to "
                    f"{self.frame_bytes_max}"
                )
            stop = start + _HEADER.size + length
            if stop > end:
                self._bytes_needed = stop - start
                break
            body = chunk[start + _HEADER.size : stop]
            if crc32(body) != checksum:
                raise ProtocolError(f"the checksum of a frame of {length} bytes is off")
            bodies.append(body)
            start = stop
        if start < end:
            self._partial += chunk[start:]
        return bodies
