"""Audits on real Ray workers: one cluster that is there, one of the run's own.

Start-up takes most of the time, so each kind of cluster is started once, and each run shows several
things at once. Whatever a worker or an order of ends can do is tested without processes in
`test_executors`.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from auditing import LATE
from every_probe import write_audit

from checker.errors import ExitCode

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300
TRIES = 4
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@dataclass(frozen=True)
class Audit:
    """The documents of an audit, and what a serial run of it said and left."""

    folder: Path
    out: str

    def arguments(self, verb: str, run: Path, *options: str) -> list[str]:
        """Return a command line; every run has the same pseudonym key."""
        run.mkdir(exist_ok=True)
        (run / "pseudonym.key").write_text("0" * 64)
        documents = [str(self.folder / name) for name in ("policy.yaml", "target.yaml")]
        return [sys.executable, "-m", "checker.cli", verb, *documents, "--out", str(run), *options]

    @property
    def manifest(self) -> bytes:
        """What the serial run left."""
        return (self.folder / "serial" / "manifest.json").read_bytes()


JUDGED = ("--json", "--format", "json", "--as-of", LATE)


class Cluster:
    """A cluster on loopback that starts in the background, and what lets a process in.

    Ray gives up when a part of it takes 15 seconds to start, as on a machine with far more to do
    than it has cores; then it is started once more, and again.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.environment = {
            **ENVIRONMENT,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        self.start()

    def start(self) -> None:
        script = ROOT / "tests" / "helpers" / "loopback_cluster.py"
        self.process = subprocess.Popen(
            [sys.executable, str(script), f"{self.folder}/ray"],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def address(self) -> str:
        """Wait until it is up."""
        for _ in range(TRIES):
            assert self.process.stdout is not None
            if address := self.process.stdout.readline().strip():
                return address
            self.end()
            self.start()
        raise AssertionError("Ray does not start")

    def end(self) -> None:
        self.process.communicate(timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster that is starting."""
    # sockets lie in its folder, and their paths must be short
    with tempfile.TemporaryDirectory(
        prefix="pg-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        found = Cluster(folder)
        yield found
        found.end()


@pytest.fixture(scope="module")
def audit(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """An audit with every probe; it runs serially while the cluster starts."""
    folder = tmp_path_factory.mktemp("audit")
    write_audit(folder, learned=False)
    command = Audit(folder, "").arguments("check", folder / "serial", *JUDGED)
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.FAIL, done.stderr
    return Audit(folder, done.stdout)


def without_times(report: str) -> str:
    return re.sub(r'"(started|finished|measured|command|runSha256)": "[^"]*"', r'"\1": "-"', report)


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> bool:
    """Wait for something that a process does; says whether it ended before."""
    deadline = time.monotonic() + PATIENCE_S
    while not found():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return True


def evidence(run: Path) -> int:
    return len(list(run.glob("evidence/*.parquet")))


def descendants(pid: int) -> dict[int, str]:
    """Command lines of all processes below one, by id."""
    children: dict[int, list[int]] = {}
    lines: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal():
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(stat[1]), []).append(int(entry.name))
                lines[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it has ended meanwhile
            continue
    below, found = [pid], {}
    while below:
        for child in children.get(below.pop(), []):
            found[child] = lines.get(child, "")
            below.append(child)
    return found


def listening(pids: set[int]) -> list[str]:
    """Addresses on which processes listen, as the kernel writes them."""
    inodes = set()
    for pid in pids:
        try:
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                inodes |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(handle)))
        except OSError:  # the process or the handle is gone
            continue
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return [row[1].rpartition(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes]


LOOPBACK = {
    "0100007F",
    "0000000000000000FFFF00000100007F",
    "00000000000000000000000001000000",
}


def test_a_worker_that_is_killed_in_the_middle_makes_no_difference(
    audit: Audit, cluster: Cluster, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    where = ("--executor", "ray", "--ray-address", cluster.address(), "--workers", "2")
    server = cluster.process
    with subprocess.Popen(
        audit.arguments("check", run, *JUDGED, *where),
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:

        def at_work() -> list[int]:
            return [
                pid for pid, line in descendants(server.pid).items() if "WorkerActor.run" in line
            ]

        busy: list[int] = []

        def is_in_the_middle() -> bool:
            busy[:] = at_work() if evidence(run) >= 2 else []
            return bool(busy)

        if wait_for(is_in_the_middle, process):
            os.kill(busy[0], signal.SIGKILL)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == ExitCode.FAIL, err
    assert len(re.findall(r"a worker was lost at '.+', which is run again", err)) == 1
    assert (run / "manifest.json").read_bytes() == audit.manifest
    assert without_times(out) == without_times(audit.out)  # and nothing of Ray's in between
    assert "ray" not in err.lower()
    assert server.poll() is None
    assert not any("WorkerActor" in line for line in descendants(server.pid).values())


def test_a_cluster_of_the_runs_own_stays_on_loopback_and_leaves_nothing_behind(
    audit: Audit, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    home = tempfile.mkdtemp(prefix="pg-", dir="/tmp")
    command = audit.arguments("run", run, "--executor", "ray", "--workers", "2")
    for _ in range(TRIES):
        with subprocess.Popen(
            command,
            env={**ENVIRONMENT, "TMPDIR": home, "HOME": home},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            # the manifest comes after the evidence it names
            has_begun = wait_for((run / "manifest.json").exists, process)
            process.send_signal(signal.SIGSTOP)  # looking takes time, in which a run could end
            pids = set(descendants(process.pid))
            where = listening(pids)
            process.send_signal(signal.SIGTERM)  # for which Ray has a handler of its own
            process.send_signal(signal.SIGCONT)
            out, err = process.communicate(timeout=PATIENCE_S)
        if has_begun or "timed out during startup" not in err:
            break
    assert has_begun, err
    assert where
    assert set(where) <= LOOPBACK
    assert process.returncode == 130, err
    assert "stopped by SIGTERM; jobs that were finished are kept" in err
    assert out == ""
    assert os.listdir(home) == []  # neither Ray's session nor a token
    os.rmdir(home)
    assert not [pid for pid in pids if is_running(pid)]
    kept = json.loads((run / "manifest.json").read_text())["entries"]
    assert kept
    assert all(entry in json.loads(audit.manifest)["entries"] for entry in kept)


def test_a_signal_that_comes_while_ray_starts_interrupts() -> None:
    from checker.run.executors.ray_cluster import _sigterm_kept

    def start() -> None:  # as Ray does on its way up
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), _sigterm_kept():
        start()
    assert signal.getsignal(signal.SIGTERM) is before
    with pytest.raises(SystemExit), _sigterm_kept():
        sys.exit(1)


def is_running(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has asked about yet has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
