"""Five processes share real work, and the one that leads them is killed half-way.

``python examples/worker_pool.py [PATH]`` cuts the files under PATH (coordlib's
own sources, if you name none) into a few hundred tasks, lets five processes
compute their SHA-256, sends SIGKILL to the leader of the ensemble, starts it
again, and checks every result at the end.

Part one is what a service would hold. Each process is a member of the ensemble,
a candidate for leading the pool, and a few workers:

* The elected leader makes one znode per task, then one that says "complete".
* A worker claims a task with an ephemeral znode, which goes when its owner dies.
* A claim is one transaction, and so is a result: it replaces task and claim, and
  only the holder of the claim can record it. So nothing is lost or done twice.

Part two is the parent: it starts, kills, restarts, listens and checks, and is no
member itself. Its children write lines of JSON to their standard output, and
leave when their standard input ends, so that none outlives it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

import attrs
import trio

from coordlib import (
    Check,
    ConnectionLossError,
    Create,
    Delete,
    Ensemble,
    MultiError,
    NodeExistsError,
    NoNodeError,
    ReadOnlyError,
    Session,
    SessionError,
    Set,
    Stat,
    Znode,
)
from coordlib.recipes import Election, Grant

POOL, LEADER, COMPLETE = "/pool", "/pool/leader", "/pool/complete"
TASKS, CLAIMS, RESULTS = "/pool/tasks", "/pool/claims", "/pool/results"
MEMBERS = range(1, 6)
HANDS = 4  # tasks which one process works on at a time
SESSION_TIMEOUT = 3.0
WRITES = ("claimed", "recorded")
SOURCES = Path(__file__).resolve().parents[1] / "src"


# --- part one: a member of the pool ---


@attrs.frozen
class Piece:
    """A part of a file: one task."""

    file: str
    offset: int
    length: int

    @property
    def name(self) -> str:
        """The name of its znodes."""
        return f"{quote(self.file, safe='')}@{self.offset}"

    def digest(self, root: Path) -> str:
        """Read it and return its SHA-256."""
        with (root / self.file).open("rb") as file:
            file.seek(self.offset)
            return hashlib.sha256(file.read(self.length)).hexdigest()


@attrs.frozen
class Result:
    """What is recorded of a task.

    Attributes:
      sha256: The answer.
      member: Who found it.
      claims: How often the task was claimed: more than once if a worker died.

    """

    sha256: str
    member: int
    claims: int


@attrs.frozen
class Report:
    """What a member tells the parent.

    Attributes:
      what: "follows" (it knows a new leader of the ensemble), "elected" (it leads
        the pool), "claimed" or "recorded" (a task), "refused" (a result that came
        too late), "finished".
      member: Who tells.
      at: When, by the clock that all processes of a machine share.
      epoch: The ensemble's epoch then.
      leader: The ensemble's leader then.
      task: Which task.

    """

    what: str
    member: int
    at: float
    epoch: int
    leader: int | None
    task: str


@attrs.define
class Worker:
    """One process's part in the pool."""

    ensemble: Ensemble
    root: Path
    pace: float

    async def run(self) -> None:
        """Take part until nothing is left to do; a lost session is replaced."""
        finished = False
        while not finished:
            try:
                async with self.ensemble.session(timeout=SESSION_TIMEOUT) as session:
                    await self.take_part(session)
                    finished = True
            except* (SessionError, ConnectionLossError, ReadOnlyError) as lost:
                # Its claims return to the others; what it recorded stays.
                why = f"member {self.ensemble.member_id}: {lost.exceptions[0]!r}"
                print(f"{why}; it opens a new session", file=sys.stderr)

    async def take_part(self, session: Session) -> None:
        """Work, and stand for election, until all tasks are done."""
        for path in (POOL, TASKS, CLAIMS, RESULTS):
            with suppress(NodeExistsError):
                await session.create(path)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Election(session, LEADER).run, self.lead, session)
            await session.wait_for(COMPLETE, lambda znode: znode is not None)
            for _ in range(HANDS):
                nursery.start_soon(self.work, session)

    async def lead(self, leadership: Grant, session: Session) -> None:
        """Make the tasks, unless a leader before did; lead until they are done."""
        self.tell("elected")
        if await session.exists(COMPLETE) is None:
            # Nobody works yet, and the guard lets only the present leader add
            # tasks: so what is missing now stays missing until it is added here.
            present = set(await session.get_children(TASKS))
            pieces = await trio.to_thread.run_sync(cut, self.root)
            missing = [p for p in pieces if p.name not in present]
            for i in range(0, len(missing), 50):
                tasks = [
                    Create(f"{TASKS}/{p.name}", to_json(p)) for p in missing[i : i + 50]
                ]
                await session.multi([leadership.guard(), *tasks])
            await session.multi([leadership.guard(), Create(COMPLETE)])
        await session.wait_for(TASKS, has_no_children)

    async def work(self, session: Session) -> None:
        """Do one task after another, in any order, until none is left."""
        # The watch is first, so that no change during a pass is missed.
        async with session.watch(CLAIMS) as events:
            while names := await session.get_children(TASKS):
                random.shuffle(names)
                for name in names:
                    if await session.exists(f"{CLAIMS}/{name}") is None:
                        await self.try_task(session, name)
                # What is left was claimed by others, and returns if they die.
                await events.wait()

    async def try_task(self, session: Session, name: str) -> None:
        """Claim a task, do it and record the result, unless somebody else does."""
        task, claim, result = f"{TASKS}/{name}", f"{CLAIMS}/{name}", f"{RESULTS}/{name}"
        try:
            data, _ = await session.get(task)
            # Setting the task makes its version count its claims.
            _, stat = await session.multi(
                [Create(claim, ephemeral=True), Set(task, data)]
            )
        except (NoNodeError, MultiError):
            return
        assert isinstance(stat, Stat)
        token = stat.mzxid  # the claim was created in the same transaction
        self.tell("claimed", name)
        piece = Piece(**json.loads(data))
        sha256 = await trio.to_thread.run_sync(piece.digest, self.root)
        # There should be something to watch, and not all in step.
        await trio.sleep(self.pace * random.uniform(0.5, 1.5))
        answer = to_json(Result(sha256, self.ensemble.member_id, stat.version))
        try:
            await session.multi(
                [
                    Check(claim, czxid=token),
                    Create(result, answer),
                    Delete(task),
                    Delete(claim),
                ]
            )
        except MultiError:
            self.tell("refused", name)
        else:
            self.tell("recorded", name)

    async def tell_leaders(self) -> None:
        """Tell who leads the ensemble, now and whenever that changes."""
        known = 0
        while True:
            now = self.ensemble.statistics()
            if now.leader_id is not None and now.epoch > known:
                known = now.epoch
                self.tell("follows")
            await trio.sleep(0.005)

    def tell(self, what: str, task: str = "") -> None:
        """Tell the parent."""
        now, member = self.ensemble.statistics(), self.ensemble.member_id
        at = time.monotonic()
        report = Report(what, member, at, now.epoch, now.leader_id, task)
        print(to_json(report).decode(), flush=True)


def cut(root: Path) -> list[Piece]:
    """Cut the files under ``root`` into pieces; everybody cuts alike."""
    sizes: dict[str, int] = {}
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and not any(p[0] == "." or p == "__pycache__" for p in parts):
            sizes["/".join(parts)] = path.stat().st_size
    length = max(1024, sum(sizes.values()) // 300)
    return [
        Piece(file, offset, min(length, size - offset))
        for file, size in sizes.items()
        for offset in range(0, size, length)
    ]


def has_no_children(znode: Znode | None) -> bool:
    """Tell whether the znode is there and has no children."""
    return znode is not None and znode.stat.num_children == 0


def to_json(value: Piece | Result | Report) -> bytes:
    """Return a value as JSON."""
    return json.dumps(attrs.asdict(value)).encode()


async def run_member(
    member: int, addresses: list[str], root: str, directory: str, pace: float
) -> None:
    """Be a member until the parent closes our standard input, or is no more."""
    members = dict(zip(MEMBERS, addresses, strict=True))
    data_dir = Path(directory, f"member-{member}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_at_end_of_input, nursery.cancel_scope)
        async with Ensemble(member, members, data_dir=data_dir) as ensemble:
            worker = Worker(ensemble, Path(root), pace)
            nursery.start_soon(worker.tell_leaders)
            await worker.run()
            copy = {
                name: json.loads(ensemble.tree.get(f"{RESULTS}/{name}")[0])
                for name in ensemble.tree.get_children(RESULTS)
            }
            file = trio.Path(directory, f"results-{member}.json")
            await file.write_text(json.dumps(copy))
            worker.tell("finished")
            await trio.sleep_forever()  # the others may still need a quorum


async def cancel_at_end_of_input(scope: trio.CancelScope) -> None:
    """Cancel ``scope`` when standard input ends."""
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin:
        await stdin.receive_some()
    scope.cancel()


# --- part two: the parent ---


class PoolError(Exception):
    """What the parent found wrong."""


@attrs.define
class Parent:
    """The parent's view of its children."""

    root: Path
    directory: Path
    seconds: float
    pieces: list[Piece]
    nursery: trio.Nursery
    addresses: list[str] = attrs.field(factory=lambda: free_addresses(len(MEMBERS)))
    # Those that should be running.
    children: dict[int, trio.Process] = attrs.field(factory=dict)
    reports: list[Report] = attrs.field(factory=list)
    recorded: Counter[str] = attrs.field(factory=Counter)
    news: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def run(self) -> list[str]:
        """Let the story happen; return its summary once everything is checked."""
        for member in MEMBERS:
            await self.start(member)
        await self.until(lambda: 2 * len(self.recorded) >= len(self.pieces))

        epoch, victim = max((r.epoch, r.leader or 0) for r in self.reports)
        elected = self.heard("elected")[-1].member
        show(f"member {victim} leads the ensemble: kill -9")
        done, killed = len(self.recorded), time.monotonic()
        self.children.pop(victim).send_signal(signal.SIGKILL)
        # Not all that is heard after the kill was agreed after it: the epoch tells.
        after = partial(self.heard, epoch=epoch + 1)
        await self.until(lambda: after("follows") and after(*WRITES))

        await trio.sleep(1)
        show(f"member {victim} starts again")
        restarted = time.monotonic()
        await self.start(victim)
        await self.until(lambda: len(self.heard("finished")) == len(MEMBERS))
        await self.dismiss()

        results = self.check()
        news = after("follows", *WRITES)  # whichever tells first of the new leader
        back = [r for r in self.heard("follows", "recorded") if r.member == victim]
        more = [r for r in back if r.what == "recorded" and r.at > restarted]
        pool_leader = f"member {elected} stayed"
        if elected == victim:
            pool_leader = milliseconds(killed, self.heard("elected"))
        return [
            f"tasks                    {len(results)}",
            *(
                f"  done by member {member}       {count}"
                for member, count in sorted(Counter(r.member for r in results).items())
            ),
            f"killed                   member {victim}, when {done} were done",
            f"  next ensemble leader   {milliseconds(killed, news)}",
            f"  next agreed write      {milliseconds(killed, after(*WRITES))}",
            f"  next leader of pool    {pool_leader}",
            f"restarted                member {victim}, which did {len(more)} more",
            f"  following the leader   {milliseconds(restarted, back)}",
            f"claims retaken           {sum(r.claims - 1 for r in results)}",
            f"late results refused     {len(self.heard('refused'))}",
        ]

    async def start(self, member: int) -> None:
        """Start a child, on the data directory that it may have had before."""
        pace = self.seconds * len(MEMBERS) * HANDS / len(self.pieces)
        seat = [member, self.addresses, str(self.root), str(self.directory), pace]
        run = partial(
            trio.run_process,
            [sys.executable, __file__, "--member", json.dumps(seat)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            check=False,
            start_new_session=True,  # Ctrl-C is for the parent alone
        )
        child: trio.Process = await self.nursery.start(run)
        self.children[member] = child
        self.nursery.start_soon(self.listen, member, child)

    async def listen(self, member: int, child: trio.Process) -> None:
        """Note what a child tells, until it ends."""
        assert child.stdout is not None
        rest = b""
        async for chunk in child.stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                report = Report(**json.loads(line))
                self.reports.append(report)
                if report.what == "recorded":
                    self.recorded[report.task] += 1
                    show_progress(len(self.recorded), len(self.pieces))
            self.news.unpark_all()
        if self.children.get(member) is child:
            raise PoolError(f"member {member} ended, and nobody asked it to")

    async def until(self, is_so: Callable[[], object]) -> None:
        """Wait until reports have made it so."""
        while not is_so():
            await self.news.park()

    def heard(self, *what: str, epoch: int = 0) -> list[Report]:
        """Return the reports of these kinds, of this epoch or later."""
        return [r for r in self.reports if r.what in what and r.epoch >= epoch]

    async def dismiss(self) -> None:
        """Let the children end as they should.

        Raises:
          PoolError: One ended otherwise.

        """
        children, self.children = self.children, {}
        for child in children.values():
            assert child.stdin is not None
            await child.stdin.aclose()
        for member, child in children.items():
            if status := await child.wait():
                raise PoolError(f"member {member} ended with status {status}")

    def check(self) -> list[Result]:
        """Check what every member holds against the files.

        Raises:
          PoolError: A result is missing, surplus, doubled or wrong.

        """
        right = {piece.name: piece.digest(self.root) for piece in self.pieces}
        results: dict[str, Result] = {}
        for member in MEMBERS:
            text = (self.directory / f"results-{member}.json").read_text()
            results = {
                name: Result(**fields) for name, fields in json.loads(text).items()
            }
            for complaint, names in {
                "missing": right.keys() - results.keys(),
                "surplus": results.keys() - right.keys(),
                "doubled": [n for n, count in self.recorded.items() if count > 1],
                "wrong": [n for n, r in results.items() if right.get(n) != r.sha256],
            }.items():
                if names:
                    raise PoolError(f"{complaint} at member {member}: {sorted(names)}")
        return list(results.values())


def milliseconds(since: float, reports: list[Report]) -> str:
    """Return how long after a moment the first of these reports came."""
    first = min((r.at for r in reports if r.at > since), default=None)
    return "never" if first is None else f"{1000 * (first - since):.0f} ms"


def free_addresses(count: int) -> list[str]:
    """Return addresses of this machine on which nobody listens."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{probe.getsockname()[1]}" for probe in sockets]


def show(event: str) -> None:
    """Tell the user what happens, above the bar if there is one."""
    print(f"\r\033[K{event}" if sys.stderr.isatty() else event, file=sys.stderr)


def show_progress(done: int, total: int) -> None:
    """Draw a bar on a terminal; elsewhere print a line for every tenth."""
    text = f"[{'#' * (40 * done // total):.<40}] {done}/{total}"
    if sys.stderr.isatty():
        print(f"\r{text}", end="", file=sys.stderr, flush=True)
    elif 10 * done // total > 10 * (done - 1) // total:
        print(text, file=sys.stderr)


async def supervise(root: Path, directory: Path, seconds: float) -> None:
    """Run the pool on the files under ``root`` and print the summary.

    Raises:
      PoolError: There is nothing to do, or something went wrong.

    """
    pieces = cut(root)
    if len(pieces) < len(MEMBERS):
        raise PoolError(f"{root}: {len(pieces)} tasks; a handful is the least")
    show(f"{len(pieces)} tasks for {len(MEMBERS)} processes")
    with trio.move_on_after(seconds + 45) as patience:
        async with trio.open_nursery() as nursery:
            parent = Parent(root, directory, seconds, pieces, nursery)
            summary = await parent.run()
            show("")
            print("\n".join(summary))
            print(f"checked                  each result, once, at all {len(MEMBERS)}")
    if patience.cancelled_caught:
        raise PoolError("it takes too long")


def main() -> str | None:
    """Run the pool, or be one of its members; return what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", nargs="?", type=Path, default=SOURCES)
    parser.add_argument("--seconds", type=float, default=8.0, help="of work, about")
    parser.add_argument("--member", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.member:
        trio.run(run_member, *options.member)
        return None
    error = None
    try:
        with tempfile.TemporaryDirectory(prefix="coordlib-") as directory:
            trio.run(supervise, options.path, Path(directory), options.seconds)
    except* PoolError as group:
        error = "; ".join(map(str, group.exceptions))
    except* KeyboardInterrupt:
        error = "interrupted"
    return error


if __name__ == "__main__":
    sys.exit(main())
