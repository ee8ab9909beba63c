"""One-line bugs that must not live: what ``coordlib.testing.mutants`` breaks.

Each is a rule of protocol, storage or sessions, with the line that holds it and
the line as somebody might have written it instead. Not run from here.
"""

from __future__ import annotations

import attrs

__all__ = ["MUTANTS", "Mutant"]


@attrs.frozen
class Mutant:
    """One change.

    Attributes:
      name: What the changed code does wrong.
      file: Which file, below the package.
      old: What stands there, exactly once.
      new: What is put in its place.

    """

    name: str
    file: str
    old: str
    new: str


def _in(file: str, *changes: tuple[str, str, str]) -> list[Mutant]:
    return [Mutant(name, file, old, new) for name, old, new in changes]


MUTANTS: tuple[Mutant, ...] = (
    *_in(
        "consensus/learner.py",
        (
            "acknowledge a proposal before it is durable",
            "Ack(self.epoch, core.history.last), after=io)",
            "Ack(self.epoch, core.history.last))",
        ),
        (
            "acknowledge the leader before its history is durable",
            "AckNewLeader(self.epoch), after=io)",
            "AckNewLeader(self.epoch))",
        ),
        (
            "promise an epoch before the promise is durable",
            "core.send(self.leader, answer, after=core.last_io)",
            "core.send(self.leader, answer)",
        ),
        (
            "promise one epoch to several leaders",
            "promised = message.epoch > accepted",
            "promised = True",
        ),
        (
            "forget what was promised",
            "core.metadata, accepted_epoch=message.epoch, seasoned=seasoned",
            "core.metadata, seasoned=seasoned",
        ),
        (
            "deliver all that was logged when an epoch begins",
            "core.deliver(message.committed)",
            "core.deliver(core.history.last)",
        ),
        (
            "follow without what the epoch began with",
            "core.deliver(message.committed)",
            "pass",
        ),
        (
            "deliver nothing that is committed later",
            "            self.core.deliver(message.zxid)",
            "            pass",
        ),
        (
            "never cut the log",
            "core.cut(message.zxid, now)",
            "pass",
        ),
        (
            "never answer pings",
            "self.core.send(self.leader, Pong(message.number))",
            "pass",
        ),
        (
            "follow a silent leader for ever",
            'self.ended = "the leader is silent"',
            "pass",
        ),
    ),
    *_in(
        "consensus/quorum.py",
        (
            "commit with one disk less than a quorum",
            "highest_first[len(self.voters) // 2]",
            "highest_first[max(0, len(self.voters) // 2 - 1)]",
        ),
        (
            "commit only what all disks hold",
            "highest_first[len(self.voters) // 2]",
            "highest_first[-1]",
        ),
        (
            "take half of the voters for a quorum",
            "2 * len(self.voters & members) > len(self.voters)",
            "2 * len(self.voters & members) >= len(self.voters) - 1",
        ),
    ),
    *_in(
        "consensus/broadcast.py",
        (
            "count the own disk before it has written",
            "self._own[0][0] <= self.core.durable_io",
            "True",
        ),
        (
            "commit without delivering",
            "            core.deliver(committed)",
            "            pass",
        ),
        (
            "tell nobody what is committed",
            "core.broadcast(self._learners(), Commit(self.epoch, committed))",
            "pass",
        ),
        (
            "go on after an epoch's last number",
            "if self._closing or counter + len(payloads) > core.settings.counter_max:",
            "if False:",
        ),
        (
            "propose only to those that acknowledged the leader",
            "if f.forwarding]",
            "if f.synchronized]",
        ),
    ),
    *_in(
        "consensus/leader.py",
        (
            "use an epoch twice",
            "self.epoch = Epoch(newest + 1)",
            "self.epoch = Epoch(max(1, newest))",
        ),
        (
            "offer an epoch before the own promise is durable",
            "self.core.broadcast(members, message, after=self._promise_io)",
            "self.core.broadcast(members, message)",
        ),
        (
            "establish an epoch before it is on the own disk",
            "elif core.durable_io >= self._epoch_io:",
            "else:",
        ),
        (
            "establish an epoch without a quorum",
            "if core.quorum.contains(acked | {core.me}):",
            "if True:",
        ),
        (
            "begin an epoch with less than its history",
            "committed = self._history[1]",
            "committed = core.delivered",
        ),
        (
            "send a difference from where the log in memory begins",
            "level = plan.common",
            "level = max(plan.common, core.history.base)",
        ),
        (
            "leave the last transaction out of a difference",
            "missing = core.history.between(level, core.history.last)",
            "missing = core.history.between(level, core.history.last)[:-1]",
        ),
        (
            "never tell a late learner to serve",
            "self.core.send(member, UpToDate(self.epoch, self.broadcast.committed))",
            "pass",
        ),
        (
            "send no truncation",
            "if tails and tails[-1] > level:",
            "if False:",
        ),
        (
            "deliver nothing when an epoch begins",
            "        core.deliver(committed)",
            "        pass",
        ),
        (
            "do not count what synchronisation brought",
            "follower.acked = max(follower.acked, follower.sent)",
            "pass",
        ),
        (
            "never drop a silent learner",
            'self._drop(member, "the learner is silent")',
            "pass",
        ),
        (
            "lead without a quorum",
            'self.ended = "a quorum is no longer linked"',
            "pass",
        ),
        (
            "lead with a disk that stalls",
            'self.ended = "the own disk stalls"',
            "pass",
        ),
    ),
    *_in(
        "consensus/followers.py",
        (
            "count wiped disks",
            "return core.quorum.contains(trusted) or all_are_empty(core, infos)",
            "return core.quorum.contains(infos.keys() | {core.me})",
        ),
        (
            "count disks that were rolled back",
            "return info.seasoned and not core.lacks(info, member)",
            "return info.seasoned",
        ),
    ),
    *_in(
        "consensus/synchronization.py",
        (
            "synchronise from the learner's end",
            "return min(tail, own)",
            "return tail",
        ),
    ),
    *_in(
        "storage/reading.py",
        (
            "send from the disk what was cut",
            "cut.zxid < zxid and",
            "cut.zxid < 0 and",
        ),
        (
            "begin a difference from the disk one record late",
            "return (zxid, body) if zxid > self._after else None",
            "return (zxid, body) if zxid > self._after + 1 else None",
        ),
    ),
    *_in(
        "replica/incoming.py",
        (
            "go on with another snapshot than was offered",
            "if offer != self._offer:",
            "if self._offer is None:",
        ),
    ),
    *_in(
        "consensus/looking.py",
        (
            "choose the worst history",
            "best = max(candidates, key=self._rank).member",
            "best = min(candidates, key=self._rank).member",
        ),
    ),
    *_in(
        "consensus/barrier.py",
        (
            "confirm the lead without asking",
            "numbers[me] = self._sent",
            "numbers = dict.fromkeys(quorum.voters, self._sent)",
        ),
    ),
    *_in(
        "consensus/core.py",
        (
            "take a member whose log was damaged for a new one",
            "anything = metadata.damaged or self.levels",
            "anything = False",
        ),
        (
            "vote with what is not durable",
            "return self.last_io if notification.vote is not None else 0",
            "return 0",
        ),
        (
            "cut the log in memory only",
            "        self.effects.append(Cut(self._next_io(now), zxid))",
            "        pass",
        ),
        (
            "deliver a transaction twice",
            "        self.delivered = upto\n",
            "        self.delivered = max(self.delivered, Zxid(upto - 1))\n",
        ),
    ),
    *_in(
        "storage/log.py",
        (
            "write nothing",
            "            self._directory.append(self._fd, self._sealed())",
            "            pass",
        ),
        (
            "forget the metadata when a segment begins",
            "at.chain, at.meta)",
            "at.chain, None)",
        ),
        (
            "purge what recovery needs",
            "return enough[-1] if enough else 0",
            "return len(self._at.segments) - 1",
        ),
    ),
    *_in(
        "storage/directory.py",
        (
            "never sync the log",
            "        self._write(fd, content)\n        self._system.sync(fd)",
            "        self._write(fd, content)",
        ),
        (
            "recover what the disk may not have",
            "            self._system.sync(fd)\n            self._system.forget(fd)",
            "            self._system.forget(fd)",
        ),
        (
            "believe the page cache after a failed sync",
            "            self._system.forget(fd)\n"
            "        finally:\n            self._system.close(fd)",
            "            pass\n        finally:\n            self._system.close(fd)",
        ),
        (
            "never sync a new name",
            "        self._system.sync_directory(self._fd)",
            "        pass",
        ),
    ),
    *_in(
        "storage/scan.py",
        (
            "take a damaged record for a good one",
            "        if crc != record_checksum(head, body, self._head.number, offset):",
            "        if False:",
        ),
    ),
    *_in(
        "storage/snapshot.py",
        (
            "restore a damaged snapshot",
            "    if not good:",
            "    if False:",
        ),
    ),
    *_in(
        "storage/recovery.py",
        (
            "cut the log where it rotted",
            "    if rot is not None:",
            "    if False:",
        ),
        (
            "go on behind a torn end",
            "    if replay.torn is not None:",
            "    if False:",
        ),
    ),
    *_in(
        "storage/aside.py",
        (
            "set the end of the log aside first",
            "    *earlier, last = names\n",
            "    *earlier, last = names[::-1]\n",
        ),
    ),
    *_in(
        "replica/metadata.py",
        (
            "let a member vote whose log was damaged",
            "damaged=metadata.damaged or recovered.damaged)",
            "seasoned=metadata.seasoned or recovered.damaged)",
        ),
        (
            "forget that the log was damaged",
            "damaged=metadata.damaged or recovered.damaged)",
            "damaged=False)",
        ),
    ),
    *_in(
        "storage/history.py",
        (
            "forget truncations in recovery",
            "del self.records[bisect_right(self.records, zxid, key=_zxid_of) :]",
            "pass",
        ),
    ),
    *_in(
        "replica/contact.py",
        (
            "answer a sync without asking anybody",
            "self._new[waiter] = None",
            "waiter.resolve(None)",
        ),
        (
            "answer a sync by a touch that was sent before it",
            "self._asked[0][0] <= number:",
            "self._asked[0][0] <= number + 1:",
        ),
    ),
    *_in(
        "replica/expiry.py",
        (
            "expire sessions early",
            "left = session.timeout_ms / 1000 - (now - heard)",
            "left = session.timeout_ms / 2000 - (now - heard)",
        ),
        (
            "a new leader knows no mercy",
            "heard = max(self.began, self._heard.get(session.owner, self.began))",
            "heard = self._heard.get(session.owner, self.began - 1000)",
        ),
        (
            "never expire a session",
            "overdue.append(session.id)",
            "pass",
        ),
    ),
    *_in(
        "replica/contact.py",
        (
            "rely on a heartbeat for too long",
            "self._sent[self._number] = now",
            "self._sent[self._number] = now + 1",
        ),
    ),
    *_in(
        "replica/subscriptions.py",
        (
            "fire a watch late",
            "def fire(self, events: Iterable[TreeEvent]) -> int:",
            "def fire(self, now: Iterable[TreeEvent], late: dict = {}) -> int:\n"
            "        events = late.pop(id(self), ())\n"
            "        late[id(self)] = now",
        ),
        (
            "tell no watch that everything was replaced",
            "            self._tell([watch], event)\n        self.ringer.ring()",
            "        self.ringer.ring()",
        ),
        (
            "fire a watch twice",
            "            if sink is not None:\n                sink(event)",
            "            for _ in (1, 2) if sink else ():\n                sink(event)",
        ),
        (
            "consume a one-shot watch without a word",
            "sink = self._forget(watch) if watch.one_shot else sinks.get(watch)",
            "sink = None if watch.one_shot else sinks.get(watch)",
        ),
    ),
    *_in(
        "replica/requests.py",
        (
            "take every request for one that a snapshot has answered",
            "if record is None or request.cxid > record.last_cxid:",
            "if record is None:",
        ),
        (
            "send nothing again after a change of leader",
            "self._unsent = deque(self._by_key.values())",
            "pass",
        ),
        (
            "say of every outcome that it has arrived",
            "acked = next(iter(self._cxids.get(session, ())), cxid)",
            "acked = cxid + 1",
        ),
    ),
    *_in(
        "tree/data_tree.py",
        (
            "apply a request as often as it comes",
            "if cxid <= record.last_cxid:",
            "if False:",
        ),
        (
            "let a session live on after its end",
            "            self._sessions.remove(record)",
            "            pass",
        ),
        (
            "tell nobody of ephemerals that go",
            "            applied.events = mutation.events",
            "            pass",
        ),
        (
            "leave ephemerals behind",
            "mutation.delete_ephemerals(list(record.ephemerals), closing.cause)",
            "pass",
        ),
    ),
    *_in(
        "tree/mutations.py",
        (
            "delete what has outlived its time without looking again",
            "if operation.mzxid != znode.mzxid or not self._is_over(znode):",
            "if False:",
        ),
        (
            "clean up a container with children",
            """            return Refused(ErrorCode.NOT_EMPTY, path)
        if operation.mzxid""",
            """            pass
        if operation.mzxid""",
        ),
        (
            "let everybody set data",
            "if permission and not allows(znode.acl, permission, self.identities):",
            "if False:",
        ),
        (
            "let everybody set ACLs",
            "if not allows(znode.acl, Permission.ADMIN, self.identities):",
            "if False:",
        ),
    ),
    *_in(
        "tree/znodes.py",
        (
            "save no old row of a changed znode",
            "            frozen.changing(path, znode)",
            "            pass",
        ),
        (
            "save no old row of a deleted znode",
            "            frozen.going(path, znode)",
            "            pass",
        ),
    ),
    *_in(
        "tree/restoration.py",
        (
            "forget who sessions are in snapshots",
            "            read_identities(identities),",
            "            (),",
        ),
        (
            "forget sessions' last requests in snapshots",
            "            read.unsigned(last_cxid),",
            "            0,",
        ),
    ),
)
