"""Random stories: whatever happens in whatever order, nothing agreed is lost.

Each seed draws which faults it uses (swarm testing, ISSTA 2012), plays some
hundred steps, then heals everything and asks for life: one leader, a fresh
commit, equal trees. ``World`` checks safety after every effect. A failing seed
is printed with the assertion; run it alone with ``-k 'seed[N]'``.
"""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from consensus_world import World
from coordlib.consensus import Role, Settings
from coordlib.errors import LeadTransferError

SEEDS = 400
STEPS = 900


class Story:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        members = self.rng.choice([1, 3, 3, 3, 4, 5])
        small = Settings(
            history_records_max=self.rng.choice([3, 10, 10_000]),
            batch_records_max=self.rng.choice([2, 1024]),
            counter_max=self.rng.choice([5, 50, 1 << 31]),
        )
        observers = self.rng.choice([0, 0, 0, 1, 2])
        self.world = World(members, observers=observers, settings=small)
        self.proposed = 0
        self.weights = {
            "deliver": 60,
            "persist": 25,
            "propose": self.rng.choice([2, 10]),
            "snapshot": self.rng.choice([0, 0, 0.5, 2]),
            "transfer": self.rng.choice([0, 0, 0.3, 2]),
            "pass_time": self.rng.choice([2, 10]),
            "barrier": 1,
            "connect": self.rng.choice([3, 10]),
            "disconnect": self.rng.choice([0, 0, 1, 3]),
            "crash": self.rng.choice([0, 0.3, 1]),
            "start": self.rng.choice([1, 3]),
            "power_loss": self.rng.choice([0, 0.1]),
            "wipe": self.rng.choice([0, 0, 1]) if members >= 3 else 0,
        }

    def step(self) -> None:
        actions = list(self.weights)
        action = self.rng.choices(actions, [self.weights[a] for a in actions])[0]
        getattr(self, action)()

    def deliver(self) -> None:
        wires = sorted(key for key, wire in self.world.wires.items() if wire)
        if wires:
            link, sender = self.rng.choice(wires)
            # Never between members that a half-broken link separates.
            if sender in self.world.members:
                self.world.deliver(link, sender)

    def persist(self) -> None:
        busy = [m for m, s in sorted(self.world.members.items()) if s.pending]
        if busy:
            self.world.persist(self.rng.choice(busy), self.rng.choice([1, 1, 100]))

    def propose(self) -> None:
        for member in sorted(self.world.members):
            count = self.rng.choice([1, 1, 3])
            payloads = [b"%d" % (self.proposed + i) for i in range(count)]
            if self.world.propose(member, *payloads):
                self.proposed += count

    def snapshot(self) -> None:
        for member, state in sorted(self.world.members.items()):
            if state.tree and not state.pending and self.rng.random() < 0.5:
                self.world.snapshot(member)

    def transfer(self) -> None:
        to = self.rng.choice([None, *self.world.everybody])
        for member in sorted(self.world.members):
            with suppress(LeadTransferError):
                self.world.transfer_lead(member, to)

    def barrier(self) -> None:
        for member in sorted(self.world.members):
            agreed = len(self.world.committed)
            if self.world.barrier(member, agreed):
                break

    def pass_time(self) -> None:
        self.world.pass_time(self.rng.choice([0.001, 0.01, 0.1, 0.5]))

    def connect(self) -> None:
        alive = sorted(self.world.members)
        if len(alive) > 1:
            a, b = self.rng.sample(alive, 2)
            if self.world.link_between(a, b) is None or self.rng.random() < 0.02:
                self.world.connect(a, b)

    def disconnect(self) -> None:
        links = sorted({link for link, _ in self.world.wires})
        if links:
            self.world.disconnect(self.rng.choice(links))

    def crash(self) -> None:
        if self.world.members:
            self.world.crash(self.rng.choice(sorted(self.world.members)))

    def start(self) -> None:
        down = [m for m in self.world.everybody if m not in self.world.members]
        if down:
            self.world.start(self.rng.choice(down))

    def power_loss(self) -> None:
        for member in sorted(self.world.members):
            self.world.persist(member, self.rng.randrange(3))
        for member in sorted(self.world.members):
            self.world.crash(member)

    def wipe(self) -> None:
        """Once a story, and only after the founding: a minority of disks."""
        self.weights["wipe"] = 0
        victim = self.rng.choice(sorted(self.world.voters))
        others = self.world.voters - {victim}
        if all(self.world.disks[m].metadata.seasoned for m in others):
            if victim in self.world.members:
                self.world.crash(victim)
            self.world.wipe(victim)

    def check_barriers(self) -> None:
        """What was agreed when the barrier was asked for is not beyond its zxid."""
        for state in self.world.members.values():
            for confirmed in state.confirmed:
                for agreed in confirmed.cookies:
                    before = self.world.committed[:agreed]
                    assert not before or before[-1][0] <= confirmed.zxid


@pytest.mark.parametrize("seed", range(SEEDS))
def test_seed(seed: int) -> None:
    story = Story(seed)
    for _ in range(STEPS):
        story.step()
        story.check_barriers()

    world = story.world
    world.heal()
    world.settle(rounds=100)
    for _ in range(60):
        world.heal()
        world.settle(rounds=20, step=0.02)
        leader = world.leader()
        if leader is not None and all(
            s.role.epoch == world.members[leader].role.epoch
            for s in world.members.values()
        ):
            break
    else:
        pytest.fail(f"no leader after healing: {world.members}")
    assert not any(state.halted for state in world.members.values())

    for _ in range(20):
        if world.propose(leader, b"alive"):
            break
        world.settle(rounds=100)
        leader = world.leader() or leader
    world.settle(rounds=100)

    trees = [state.tree for state in world.members.values()]
    assert trees[0][-1][1] == b"alive"
    assert all(tree == trees[0] for tree in trees)
    roles = [state.role.role for state in world.members.values()]
    assert roles.count(Role.LEADING) == 1
    payloads = [payload for _, payload in trees[0]]
    assert len(set(payloads)) == len(payloads)
