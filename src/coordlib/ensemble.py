"""The front door: this process becomes a member of an ensemble.

Puts the parts together, owns their life, and lets their errors out. What the
parts do is in :mod:`coordlib.replica`.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import attrs
import trio

from coordlib.config import Config
from coordlib.consensus import Role
from coordlib.errors import BadArgumentsError, ConfigError, ReplicaClosedError
from coordlib.ids import MEMBER_ID_MAX, NO_MEMBER, Epoch, MemberId, Zxid
from coordlib.replica.backup import Backup
from coordlib.replica.kept import SessionTicket
from coordlib.replica.lifetime import block_error, inline, run_member
from coordlib.replica.links import Blocking
from coordlib.replica.progress import Progress
from coordlib.replica.replica import Replica, Surroundings
from coordlib.session import AuthenticationProvider, Session
from coordlib.session.authentication import Authentication, providers_by_scheme
from coordlib.storage.file import FileStore
from coordlib.storage.interface import Damage, LogStore
from coordlib.storage.memory import MemoryDisk, MemoryStore
from coordlib.transport.addresses import parse_address
from coordlib.transport.interface import Transport
from coordlib.transport.tcp import TcpTransport
from coordlib.tree import TreeReader

__all__ = ["Ensemble", "EnsembleStatistics"]

T = TypeVar("T")


@attrs.frozen
class EnsembleStatistics:
    """What a member is doing, at one moment.

    Attributes:
      role: Its part.
      epoch: The established epoch; 0 while there is none.
      leader_id: Who leads; ``None`` while nobody is known to.
      zxid: The last transaction that this member's tree holds.
      last_zxid: The end of its log.
      serving: Whether it is in contact with a leader, and has caught up.
      linked: The members it can talk to.
      sessions: How many sessions of the ensemble are open.
      local_sessions: How many of them live at this member.
      outstanding: Requests made here that have no outcome yet.
      watches: Watches of this process.
      quotas_exceeded: The znodes whose quota has a soft limit that is exceeded.
      refused_handshakes: By reason, since the start.
      broken_frames: Links cut because of what came over them.
      disk_full_for: Seconds for which the log has waited for room on the disk;
        0.0 if it does not. Meanwhile this member makes nothing durable.
      progress: The long work under way, such as loading a snapshot.
      seasoned: Whether this member's disk holds all that it ever acknowledged. If
        not, it counts in no quorum before a leader has brought it level.
      damage: What was found damaged at the start, and set aside: file, offset and
        reason.
      distrusted: The members whose disks, as far as this one knows, have lost what
        they acknowledged, without knowing it: rolled back, for one.

    """

    role: Role
    epoch: Epoch
    leader_id: MemberId | None
    zxid: Zxid
    last_zxid: Zxid
    serving: bool
    linked: tuple[MemberId, ...]
    sessions: int
    local_sessions: int
    outstanding: int
    watches: int
    quotas_exceeded: tuple[str, ...]
    refused_handshakes: dict[str, int]
    broken_frames: int
    disk_full_for: float
    progress: tuple[Progress, ...]
    seasoned: bool
    damage: tuple[Damage, ...]
    distrusted: tuple[MemberId, ...]


class Ensemble:
    """One member of an ensemble, embedded in this process.

    An async context manager: the member runs for as long as the block. It goes
    on running while a cancelled block cleans up, so that locks are released;
    its own failure (:exc:`StorageError`, for one) cancels the block and is
    raised by it.

    Examples:
      Standalone, in memory: ``async with Ensemble() as ensemble: ...``

      Standalone, durable: ``Ensemble(data_dir="state")``

      Replicated: ``Ensemble(1, {1: "10.0.0.1:7400", ...}, data_dir="state")``

    """

    def __init__(
        self,
        member: int | None = None,
        members: Mapping[int, str] | None = None,
        *,
        observers: Mapping[int, str] | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        name: str = "coordlib",
        transport: Transport | None = None,
        store: LogStore | None = None,
        insecure: bool = False,
        authentication_providers: Sequence[AuthenticationProvider] = (),
        config: Config | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        """Check the configuration; nothing is started or touched yet.

        Args:
          member: Which of ``members`` or ``observers`` this process is. Leave all
            of them out for an ensemble of one.
          members: The address, ``"host:port"``, of every voter by its id (1 to
            254); the same on all members.
          observers: The addresses of members that follow without a vote: they
            serve reads and forward writes, and no quorum waits for them.
          data_dir: Where this member keeps its log. Without one it remembers
            nothing: a restarted member is a new one to the others, and counts
            only after it has caught up.
          name: The ensemble's name. Members and data directories of an
            ensemble of another name are refused.
          transport: Instead of TCP.
          store: Instead of ``data_dir``.
          insecure: Let plain TCP leave this machine. Whoever can reach the port
            can then read and write everything.
          authentication_providers: What sessions of this member can prove their
            identities by, besides passwords. Give the same to all members.
          config: Durations and limits, and who is the superuser.
          surroundings: Randomness, wall clock and threads, for tests.

        Raises:
          ConfigError: The arguments contradict each other. Nothing was touched.

        """
        addresses = _joined(members or {}, observers or {})
        self._config = config or Config()
        self._member = _checked_member(member, addresses)
        if data_dir is not None and store is not None:
            raise ConfigError("data_dir and store are two answers to one question")
        everybody = {MemberId(m): a for m, a in addresses.items()}
        if transport is None and len(everybody) > 1:
            transport = TcpTransport(
                self._member, everybody, insecure=insecure, limits=self._config.limits
            )
        self._configuration = _configuration(members or {}, observers or {})
        self._voters = frozenset(map(MemberId, members or {self._member: ""}))
        self._authentication = Authentication(
            self._config.superuser, providers_by_scheme(authentication_providers)
        )
        self._members = max(1, len(everybody))
        self._name = name
        self._transport = transport
        self._data_dir = None if data_dir is None else Path(data_dir)
        self._store = store
        self._surroundings = surroundings
        self._replica: Replica | None = None
        self._lifetime: AbstractAsyncContextManager[None] | None = None
        self._process = 0

    # --- life ---

    async def __aenter__(self) -> Self:
        if self._lifetime is not None:
            raise RuntimeError("an Ensemble is entered once; make a new one")
        self._lifetime = self._run()
        await self._lifetime.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._lifetime is not None
        return await self._lifetime.__aexit__(exc_type, exc, traceback)

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        self._process = os.getpid()
        self._replica = replica = self._make_replica()
        body_error: BaseException | None = None
        failures: list[Exception] = []
        error: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                member = await nursery.start(run_member, replica, failures)
                try:
                    yield
                except BaseException as raised:
                    body_error = raised
                    raise
                finally:
                    await replica.take_leave()
                    member.cancel()
        except BaseExceptionGroup as group:
            error = block_error(group, body_error, failures)
        # Out here, so that the group is not shown as its context.
        if error is not None:
            raise error

    def _make_replica(self) -> Replica:
        store, blocking = self._store, inline
        if self._data_dir is not None:
            store = FileStore(
                self._data_dir,
                member=self._member,
                name=self._name,
                snapshots_kept=self._config.snapshots_kept,
                kept_bytes_max=self._config.kept_bytes_max,
                repairable=bool(self._voters - {self._member}),
            )
            blocking = trio.to_thread.run_sync
        return Replica(
            member=self._member,
            voters=self._voters,
            members=self._members,
            configuration=self._configuration,
            name=self._name,
            store=store or MemoryStore(MemoryDisk()),
            transport=self._transport,
            config=self._config,
            surroundings=self._surroundings
            or Surroundings(
                entropy=secrets.token_bytes, wall_clock=time.time, blocking=blocking
            ),
        )

    def abort(self) -> None:
        """Stop the member at once, without farewell, as a crash would.

        For tests. Sessions and waiting tasks get :exc:`ReplicaClosedError`.
        """
        self._running().abort()

    # --- use ---

    @property
    def member_id(self) -> MemberId:
        """Which member this is."""
        return self._member

    @property
    def is_observer(self) -> bool:
        """Whether this member follows without a vote."""
        return self._member not in self._voters

    @property
    def role(self) -> Role:
        """What this member does: looking, following or leading."""
        return self._running().role.role

    @property
    def leader_id(self) -> MemberId | None:
        """Who leads, as far as this member knows; ``None`` for nobody."""
        role = self._running().role
        return None if role.leader == NO_MEMBER or not role.epoch else role.leader

    @property
    def read_only(self) -> bool:
        """Whether writes wait or are refused, for want of a leader."""
        return not self._running().serving

    @property
    def tree(self) -> TreeReader:
        """This member's tree, read without waiting and as old as it may be.

        It is your own process's view: no ACL is checked, and hashes in ACLs are
        not masked.
        """
        return self._running().tree

    async def wait_ready(self) -> None:
        """Wait until a quorum has formed and this member has caught up.

        The first start of an ensemble needs all of its members once, all of
        them empty.
        """
        await self._running().wait_ready()

    async def transfer_lead(self, to: int | None = None) -> MemberId:
        """Hand the lead over to another voter, without an outage.

        Writes wait for some round trips, and no longer than
        :attr:`Config.silence_timeout` for the successor to catch up; none
        fails. Leaving the block of a member that leads does the same by
        itself. Cancelling the call does not undo it.

        Args:
          to: The successor; ``None`` for the one that has caught up furthest.

        Returns:
          Who leads now: ``to``; without it, the successor, or who was elected
          after that one had failed.

        Raises:
          LeadTransferError: This member does not lead, ``to`` is no other
            voter that follows it, the successor did not catch up in time, or
            another member was elected. No request and no session is touched.
          ReplicaClosedError: The member does not run.

        Source:
          Raft's thesis, section 3.10; ``MoveLeader`` in etcd.

        """
        return await self._running().transfer_lead(None if to is None else MemberId(to))

    async def backup(self, target: str | os.PathLike[str]) -> Backup:
        """Write this member's tree, as it is at one zxid, into one new file.

        Everything goes on meanwhile: the state is that of the moment of the call,
        with all that this member had applied then, and nothing later. After
        :meth:`Session.sync` that is all that anybody had acknowledged. Followers,
        observers, members without a ``data_dir`` and cut-off ones do it, too.

        The file begins a new ensemble, see ``coordlib snapshot import``. It holds
        data, ACLs and what sessions prove themselves by, and is readable by its
        owner only. It has its name when it is durable and was read back; a
        cancelled or failed call leaves nothing.

        Args:
          target: The name of the file; there must be nothing yet.

        Returns:
          The zxid and the size in bytes.

        Raises:
          StorageError: The file cannot be written, or something has its name
            already. Neither the member nor any other file is touched by that.
          ReplicaClosedError: The member does not run.

        Source:
          ``etcdctl snapshot save``.

        """
        blocking: Blocking = trio.to_thread.run_sync
        if self._surroundings is not None:
            blocking = self._surroundings.blocking
        return await self._running().back_up(Path(target), blocking)

    @asynccontextmanager
    async def session(
        self,
        *,
        timeout: float = 10.0,
        resume: SessionTicket | None = None,
        read_only: bool = False,
    ) -> AsyncIterator[Session]:
        """Open a session for the length of a block.

        Waits for a quorum, if there is none. Leaving the block closes the
        session, which deletes its ephemerals.

        Args:
          timeout: Seconds of silence after which the ensemble ends it. The
            session gives itself up after two thirds of that. Moved into the
            bounds :attr:`Config.session_timeout_min` and ``_max``, as in
            ZooKeeper; :attr:`Session.timeout` is what came of it.
          resume: Go on with a session, ephemerals and all, that an earlier
            process of this member left behind by dying, with its timeout. What
            that process asked for and the ensemble has not carried out by now,
            it never will.
          read_only: Do not wait for a quorum: until there is one,
            :attr:`Session.state` is ``READ_ONLY``, this member's tree serves
            reads and writes are refused. See :meth:`Session.wait_connected`.

        Raises:
          BadArgumentsError: ``timeout`` is not a positive number, or the session
            to resume belongs to another member or is in use in this process.
          SessionExpiredError: The session to resume is over, or its password is
            another. With ``read_only`` the session's use raises these two.
          OverloadedError: Too many requests are without an answer at this
            member already, or too many sessions live here
            (:attr:`Limits.sessions_max`). Nothing was opened.

        """
        replica = self._running()
        # Whoever is refused and tries again at once must let others run.
        await trio.lowlevel.checkpoint()
        if resume is not None:
            kept = replica.sessions.resume(resume.id, resume.password)
        else:
            kept = replica.sessions.open(self._granted(timeout))
        async with Session(kept, self._check_process, self._authentication) as session:
            if not read_only:
                await session.wait_connected()
            yield session

    def _granted(self, timeout: float) -> float:
        """Return the session timeout nearest to that which was asked for."""
        if not (timeout > 0 and isfinite(timeout)):
            raise BadArgumentsError("", f"timeout must be positive, not {timeout}")
        config = self._config
        low, high = config.session_timeout_min, config.session_timeout_max
        return min(max(timeout, low), high)

    def statistics(self) -> EnsembleStatistics:
        """Return what the member is doing right now.

        Another task than the one that enters the block can call it already
        while the member starts, which takes seconds when its tree is large.
        """
        replica = self._running()
        peer = replica.driver.statistics()
        transport = self._transport.statistics() if self._transport else None
        return EnsembleStatistics(
            role=peer.role,
            epoch=peer.epoch,
            leader_id=self.leader_id,
            zxid=Zxid(replica.tree.zxid),
            last_zxid=peer.last_zxid,
            serving=replica.serving,
            linked=peer.linked,
            sessions=len(replica.tree.sessions()),
            local_sessions=len(replica.sessions),
            outstanding=len(replica.outstanding),
            watches=len(replica.subscriptions),
            quotas_exceeded=tuple(replica.tree.quotas_exceeded()),
            refused_handshakes=dict(transport.refused) if transport else {},
            broken_frames=replica.driver.broken_frames
            + (transport.broken_frames if transport else 0),
            disk_full_for=replica.disk_watch.waited(trio.current_time()),
            progress=replica.long_work.progress(),
            seasoned=peer.seasoned,
            damage=replica.driver.damage,
            distrusted=peer.distrusted,
        )

    def digest(self) -> int:
        """Return 64 bits that are equal on members with equal trees."""
        return self._running().tree.digest()

    def _running(self) -> Replica:
        self._check_process()
        if self._replica is None or self._replica.closed:
            raise ReplicaClosedError(
                "the ensemble is used outside its async with block"
            )
        return self._replica

    def _check_process(self) -> None:
        if self._process and os.getpid() != self._process:
            raise ReplicaClosedError(
                "this process was forked from the one that runs the replica; "
                "a member cannot run in two processes"
            )


def _joined(voters: Mapping[int, str], observers: Mapping[int, str]) -> dict[int, str]:
    """Return the addresses of all members.

    Raises:
      ConfigError: A member is both, or there are only observers.

    """
    both = sorted(voters.keys() & observers.keys())
    if both:
        raise ConfigError(f"member {both[0]} cannot be a voter and an observer")
    if observers and not voters:
        raise ConfigError("an ensemble needs a voter")
    return {**voters, **observers}


def _configuration(voters: Mapping[int, str], observers: Mapping[int, str]) -> str:
    """Return the members in ZooKeeper's form; nothing if one has no such address.

    Source:
      ``QuorumMaj.toString``, ``QuorumPeer.QuorumServer.toString``. ZooKeeper's
      members have a port for the log and one for elections; here it is one.

    """
    seats = [
        *((member, address, "participant") for member, address in voters.items()),
        *((member, address, "observer") for member, address in observers.items()),
    ]
    try:
        return "".join(
            f"server.{member}={parsed}:{parsed.port}:{part}\n"
            for member, address, part in sorted(seats)
            for parsed in [parse_address(address)]
        )
    except ConfigError:
        return ""


def _checked_member(member: int | None, members: Mapping[int, str]) -> MemberId:
    """Return which member this is.

    Raises:
      ConfigError: The map is empty or odd, or the member is not in it.

    """
    if not members and member is None:
        return MemberId(1)
    for seat in members:
        if type(seat) is not int or not 1 <= seat <= MEMBER_ID_MAX:
            raise ConfigError(f"a member id is 1 to {MEMBER_ID_MAX}, not {seat!r}")
    if member is None or member not in members:
        known = ", ".join(map(str, sorted(members))) or "none"
        raise ConfigError(f"member {member!r} is not one of the members: {known}")
    return MemberId(member)
