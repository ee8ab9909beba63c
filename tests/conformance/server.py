"""Real Apache ZooKeepers, from Debian's package, for as long as a block lasts."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from .program import SUPERUSER

__all__ = ["Ports", "is_installed", "running_servers"]

_JAR = Path("/usr/share/java/zookeeper.jar")
_PATIENCE = 120.0

_OPTIONS = {
    "zookeeper.DigestAuthenticationProvider.superDigest": SUPERUSER,
    "zookeeper.admin.enableServer": "false",
    "zookeeper.extendedTypesEnabled": "true",
    "zookeeper.enforceQuota": "true",
    # Its disk is of no interest here, and syncing it takes most of the time.
    "zookeeper.forceSync": "no",
    "zookeeper.preAllocSize": "1024",
}
_CONFIG = """\
tickTime=20
maxSessionTimeout=600000
maxClientCnxns=0
clientPortAddress=127.0.0.1
clientPort={port}
dataDir={directory}
"""


def is_installed() -> bool:
    """Tell whether there is a ZooKeeper to run."""
    return _JAR.exists() and shutil.which("java") is not None


@attrs.frozen
class Ports:
    """Where two real servers are, on loopback.

    Attributes:
      quiet: One that cleans up nothing of itself.
      cleaning: One that deletes containers and the like as soon as it may.

    """

    quiet: int
    cleaning: int


@contextmanager
def running_servers() -> Iterator[Ports]:
    """Run two standalone servers on free ports."""
    with _running(clean_ms=3_600_000) as quiet, _running(clean_ms=20) as cleaning:
        yield Ports(quiet, cleaning)


@contextmanager
def _running(*, clean_ms: int) -> Iterator[int]:
    with TemporaryDirectory() as directory:
        port = _free_port()
        config = Path(directory) / "zoo.cfg"
        config.write_text(_CONFIG.format(port=port, directory=directory))
        log = Path(directory) / "log"
        options = [f"-D{name}={value}" for name, value in _OPTIONS.items()]
        options.append(f"-Dznode.container.checkIntervalMs={clean_ms}")
        main = "org.apache.zookeeper.server.ZooKeeperServerMain"
        command = ["java", "-Xmx1g", "-cp", str(_JAR), *options, main, str(config)]
        with (
            log.open("wb") as output,
            subprocess.Popen(command, stdout=output, stderr=output) as process,
        ):
            try:
                _wait_until_it_serves(process, port, log)
                yield port
            finally:
                process.kill()


def _wait_until_it_serves(
    process: subprocess.Popen[bytes], port: int, log: Path
) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                connection.sendall(b"srvr")
                if b"Mode: standalone" in connection.recv(4096):
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"ZooKeeper does not start:\n{log.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
