"""Measures coordlib on this machine: ``python -m tests.benchmarks``.

Three processes, TCP over loopback, ``fdatasync`` on, values of 100 bytes. One
JSON object a line on standard output, one for each measurement; progress on
standard error. Beside coordlib stands the bare limit, see :mod:`.bare`. Nothing
is asserted: times depend on the machine, so compare ratios. The lines ``tree``
and ``watches`` have no processes: they are one tree, one member, and one core's
time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib.metadata import version

import trio

from .fleet import open_fleet
from .measurements import FAILOVER, MEASUREMENTS, Measured, measure_failover
from .million import MILLION, measure_million
from .tree import TREE, measure_tree
from .watches import WATCHES, measure_watches


def _report(name: str, measured: Measured) -> None:
    print(
        json.dumps(
            {
                "name": name,
                "figures": {f: float(f"{v:.4g}") for f, (v, _) in measured.items()},
                "units": {f: unit for f, (_, unit) in measured.items()},
                "versions": {
                    "python": platform.python_version(),
                    **{name: version(name) for name in ("trio", "cbor2", "coordlib")},
                },
                "machine": {
                    "cpus": os.cpu_count(),
                    "platform": f"{platform.system()} {platform.machine()}",
                },
            }
        ),
        flush=True,
    )


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def _measure(names: list[str], seconds: float) -> None:
    if TREE in names:
        _progress(f"{TREE} ...")
        _report(TREE, measure_tree())
    if WATCHES in names:
        _progress(f"{WATCHES} ...")
        _report(WATCHES, await measure_watches())
    if MILLION in names:
        _progress(f"{MILLION} ...")
        _report(MILLION, await trio.to_thread.run_sync(measure_million, 5 * seconds))
    steady = [name for name in names if name in MEASUREMENTS]
    if steady:
        _progress("starting the processes ...")
        async with open_fleet("bare") as bare, open_fleet("member") as members:
            for name in steady:
                _progress(f"{name} ...")
                _report(name, await MEASUREMENTS[name](members, bare, seconds))
    if FAILOVER in names:
        _progress(f"{FAILOVER} ...")
        # With new processes, so that it does not depend on what came before.
        async with open_fleet("member") as members:
            _report(FAILOVER, await measure_failover(members))


def main() -> None:
    """Measure what the command line asks for."""
    names = [TREE, WATCHES, *MEASUREMENTS, FAILOVER]
    # Takes minutes, so only by its name.
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument(
        "--only", choices=[*names, MILLION], help="one measurement instead of all"
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="for each figure (default: 2)"
    )
    arguments = parser.parse_args()
    trio.run(_measure, [arguments.only] if arguments.only else names, arguments.seconds)


if __name__ == "__main__":
    main()
