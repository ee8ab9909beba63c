"""``coordlib log dump``: what the records of a log say, for people or programs.

What a secret can be made of, the data of znodes among it, is shown on demand
only. Whatever comes out of the log may be hostile, and is escaped.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import attrs

from coordlib.errors import CorruptLogError, ProtocolError
from coordlib.ids import format_zxid
from coordlib.replica.metadata import decode_metadata
from coordlib.storage.directory import segment_name
from coordlib.storage.interface import EntryKind
from coordlib.storage.record import Identity, SegmentHead
from coordlib.storage.scan import SegmentScan
from coordlib.tree import (
    CloseSession,
    Multi,
    Operation,
    ResumeSession,
    decode_transaction,
)

from .files import look_at, looking, read_file
from .terminal import escaped, note, say

__all__ = ["Selection", "dump"]

Fields = dict[str, object]
"""What is known of a record or an operation, in the order to be shown."""

# These would let their finder pose as a session, or guess a password.
_SECRETS = frozenset({"nonce", "owner", "data", "acl", "identities"})
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


@attrs.frozen
class Selection:
    """Which records to show.

    Attributes:
      first: The lowest zxid.
      last: The highest; ``None`` for no bound.

    """

    first: int
    last: int | None

    def holds(self, kind: int, zxid: int) -> bool:
        """Tell whether a record is among them; metadata has no zxid of its own."""
        if kind == EntryKind.META:
            return not self.first and self.last is None
        return self.first <= zxid and (self.last is None or zxid <= self.last)


def dump(path: Path, selection: Selection, *, as_json: bool, with_data: bool) -> int:
    """Show the records up to the first damage, and return the exit code.

    Raises:
      StorageError: It is no data directory, or of an unknown version.
      OSError: The operating system refused.

    """
    look_at(path)
    with looking(path) as directory:
        numbers = directory.contents().segments
    for number in numbers:
        file = segment_name(number)
        try:
            data = read_file(path, file)
        except FileNotFoundError:
            note(f"note: {file} was purged meanwhile")
            continue
        head = SegmentHead.decode(file, data, Identity.named_in(data))
        scan = SegmentScan(data, head)
        for kind, zxid, body in scan.entries():
            if selection.holds(kind, zxid):
                fields: Fields = {"segment": number, "offset": scan.offset}
                fields |= _record(kind, zxid, body, with_data=with_data)
                say(json.dumps(fields) if as_json else _line(fields))
        if scan.damage is not None:
            rot = scan.rot()
            if rot is not None or number != numbers[-1]:
                raise CorruptLogError(file, scan.offset, rot or scan.damage)
            note(f"note: {file}, byte {scan.offset}: a torn end, never acknowledged")
    return 0


def _record(kind: int, zxid: int, body: bytes, *, with_data: bool) -> Fields:
    fields: Fields = {"kind": EntryKind(kind).name.lower()}
    if kind != EntryKind.META:
        fields["zxid"] = format_zxid(zxid)
    try:
        if kind == EntryKind.TRANSACTION:
            fields |= _transaction(body, with_data=with_data)
        elif kind == EntryKind.META:
            fields |= _metadata(body)
    except ProtocolError as error:
        # Possible, and no damage: the tree refuses it, the same on all members.
        fields |= {"malformed": str(error), "bytes": len(body)}
    return fields


def _metadata(body: bytes) -> Fields:
    known: Fields = attrs.asdict(decode_metadata(body))
    return {key: _plain(value) for key, value in known.items()}


def _transaction(body: bytes, *, with_data: bool) -> Fields:
    transaction = decode_transaction(body)
    fields: Fields = {
        "time": _time(transaction.time_ms),
        "session": format_zxid(transaction.session),
        "cxid": transaction.cxid,
    }
    return fields | _operation(transaction.operation, with_data=with_data)


def _time(ms: int) -> object:
    try:
        time = datetime.fromtimestamp(ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return ms
    return time.isoformat(timespec="milliseconds")


def _operation(operation: Operation, *, with_data: bool) -> Fields:
    """Return what an operation says, without what goes without saying."""
    name = _CAPITAL.sub("_", type(operation).__name__).lower()
    fields: Fields = {"operation": name}
    if isinstance(operation, Multi):
        parts = [_operation(part, with_data=with_data) for part in operation.operations]
        return fields | {"operations": parts}
    defaults = {field.name: field.default for field in attrs.fields(type(operation))}
    values: Fields = attrs.asdict(operation)
    if "data" in values:
        data = getattr(operation, "data", None)
        fields["bytes"] = None if data is None else len(data)
    if isinstance(operation, CloseSession | ResumeSession):
        values["session"] = format_zxid(operation.session)
    for key, value in values.items():
        is_shown = with_data or key not in _SECRETS
        if is_shown and getattr(operation, key) != defaults[key]:
            fields["of" if key == "session" else key] = _plain(value)
    return fields


def _plain(value: object) -> object:
    """Return what JSON has for a value."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value


def _line(fields: Fields) -> str:
    return " ".join(f"{key}={_shown(value)}" for key, value in fields.items())


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "{" + _line(value) + "}"
    if isinstance(value, list):
        return "[" + " ".join(map(_shown, value)) + "]"
    # So that spaces end what they seem to end.
    return escaped(str(value)).replace(" ", "\\x20")
