"""Every example runs, and shows what it says it shows."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar, TypeVarTuple

import pytest
import trio
import trio.testing

from coordlib import Ensemble, ReplicaClosedError
from coordlib.testing import MemoryEnsemble

EXAMPLES = Path(__file__).parents[1] / "examples"

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# What each example prints, as patterns, in this order.
PRINTED = {
    "hello": [r"hello, world \(version 0\)"],
    "lock": [
        r"\w+ made it 1 with token",
        r"\w+ made it 9 with token",
        r"the counter is 9",
        r"another one gave up",
    ],
    "leader_election": [
        r" 0\.0 s  member (\d) leads with token",
        r"10\.0 s  the network loses member (\d)",
        r"1[34]\.\d s  member (\d) stops",
        r"1[34]\.\d s  member (\d) leads no more",
        r"1[67]\.\d s  member (\d) leads with token",
    ],
    "unit_test_your_service": [
        r"member 1 lost /locks/report",
        r"the test took \d+ s of virtual time",
    ],
}


def run(example: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / f"{example}.py", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_example_has_a_test() -> None:
    assert {path.stem for path in EXAMPLES.iterdir() if path.suffix == ".py"} == {
        *PRINTED,
        "worker_pool",
    }


@pytest.mark.parametrize("example", PRINTED)
def test_the_example_prints_what_it_shows(example: str) -> None:
    done = run(example)

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(".*".join(PRINTED[example]), done.stdout, re.DOTALL), done.stdout


def test_another_member_leads_after_the_one_that_was_cut_off() -> None:
    leaders = re.findall(r"member (\d) leads with", run("leader_election").stdout)

    assert len(set(leaders)) == len(leaders) == 2


def test_no_two_turns_of_the_lock_have_the_same_token() -> None:
    tokens = [int(t, 16) for t in re.findall(r"token (0x\w+)", run("lock").stdout)]

    assert len(tokens) == 9
    assert tokens == sorted(set(tokens))


def test_the_service_test_runs_under_pytest() -> None:
    root = EXAMPLES.parent
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, EXAMPLES / "unit_test_your_service.py"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "1 passed" in done.stdout, done.stdout


# --- the worker pool ---


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    root.mkdir()
    for name, size in ("a b.bin", 30_000), ("ü/c.txt", 10_000), ("empty", 0):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(bytes(i * i % 251 for i in range(size)))
    return root


def load_worker_pool() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "worker_pool", EXAMPLES / "worker_pool.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pool_survives_the_death_of_its_leader(files: Path) -> None:
    done = run("worker_pool", str(files), "--seconds", "4")

    assert done.returncode == 0, done.stderr
    tasks = len(load_worker_pool().cut(files))
    assert re.search(rf"^tasks +{tasks}$", done.stdout, re.MULTILINE)
    per_member = re.findall(r"done by member \d +(\d+)", done.stdout)
    assert sum(map(int, per_member)) == tasks
    killed = re.search(r"killed +member (\d), when (\d+) were done", done.stdout)
    assert killed is not None
    assert tasks // 2 <= int(killed[2]) < tasks
    assert f"member {killed[1]} leads the ensemble: kill -9" in done.stderr
    assert re.search(r"next ensemble leader +\d+ ms", done.stdout)
    assert re.search(r"next agreed write +\d+ ms", done.stdout)
    assert re.search(r"next leader of pool +(\d+ ms|member \d stayed)", done.stdout)
    assert re.search(r"following the leader +\d+ ms", done.stdout)
    assert re.search(r"claims retaken +[1-9]", done.stdout)
    assert "late results refused     0\n" in done.stdout


def test_an_interrupted_pool_leaves_nothing_behind(files: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    # A shell has what it starts in the background ignore interrupts, and whatever that
    # starts, such as these tests.
    heeding = ["env", "--default-signal=INT", sys.executable]
    with subprocess.Popen(
        [*heeding, EXAMPLES / "worker_pool.py", str(files), "--seconds", "15"],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as pool:
        assert pool.stderr is not None
        while not pool.stderr.readline().startswith("[##"):
            assert pool.poll() is None
        assert list(temporary.iterdir()) != []

        pool.send_signal(signal.SIGINT)
        # The children have it as their standard error: it ends with the last.
        _, error = pool.communicate(timeout=60)

    assert pool.returncode == 1
    assert error.endswith("interrupted\n")
    assert list(temporary.iterdir()) == []


def test_a_path_without_work_is_refused(tmp_path: Path) -> None:
    done = run("worker_pool", str(tmp_path))

    assert done.returncode == 1
    assert "0 tasks" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("complaint", ["missing", "surplus", "doubled", "wrong", None])
def test_the_parent_finds_a_result_that_is(
    complaint: str | None, files: Path, tmp_path: Path
) -> None:
    pool = load_worker_pool()
    pieces = pool.cut(files)
    parent = pool.Parent(files, tmp_path, 1.0, pieces, nursery=None)
    results = {
        p.name: {"sha256": p.digest(files), "member": 1, "claims": 1} for p in pieces
    }
    for member in pool.MEMBERS:
        (tmp_path / f"results-{member}.json").write_text(json.dumps(results))
    name = pieces[3].name
    bad = dict(results)
    match complaint:
        case "missing":
            del bad[name]
        case "surplus":
            bad["more"] = bad[name]
        case "doubled":
            parent.recorded[name] = 2
        case "wrong":
            bad[name] = bad[pieces[4].name]
    (tmp_path / "results-4.json").write_text(json.dumps(bad))

    if complaint is None:
        assert len(parent.check()) == len(pieces)
    else:
        with pytest.raises(pool.PoolError, match=complaint):
            parent.check()


async def test_a_new_leader_makes_the_tasks_that_the_one_before_did_not(
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    # Virtual time does not wait for threads.
    monkeypatch.setattr(trio.to_thread, "run_sync", run_inline)
    pool = load_worker_pool()
    for i in range(220):
        (tmp_path / f"{i:03}").write_text(str(i))

    async def take_part(ensemble: Ensemble) -> None:
        try:
            await pool.Worker(ensemble, tmp_path, pace=0.01).run()
        except* ReplicaClosedError:
            pass

    async with MemoryEnsemble(3) as members:
        async with trio.open_nursery() as nursery:
            for ensemble in members.values():
                nursery.start_soon(take_part, ensemble)
            async with members[1].session() as session:
                await session.wait_for(
                    pool.TASKS,
                    lambda znode: znode is not None and znode.stat.num_children >= 50,
                )
            assert len(members[1].tree.get_children(pool.TASKS)) < 220
            elected = [
                report["member"]
                for report in map(json.loads, capsys.readouterr().out.splitlines())
                if report["what"] == "elected"
            ]
            await members.crash(elected[0])

        [survivor, _] = members.values()
        results = {
            name: json.loads(survivor.tree.get(f"{pool.RESULTS}/{name}")[0])
            for name in survivor.tree.get_children(pool.RESULTS)
        }
    assert autojump_clock.current_time() < 60
    assert {name: result["sha256"] for name, result in results.items()} == {
        f"{i:03}@0": hashlib.sha256(str(i).encode()).hexdigest() for i in range(220)
    }


async def run_inline(function: Callable[[*Ts], T], *arguments: *Ts) -> T:
    await trio.lowlevel.checkpoint()
    return function(*arguments)
