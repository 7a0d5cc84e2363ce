"""A `phigate` to put on a PATH that answers at once, for tests that call it from shell scripts.

Importing takes most of the time of a short command. So one process imports phigate, and the command
on the PATH hands it arguments, folder, environment and streams; a fork of that process then runs
the command as ever, and its exit code is handed back.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER = """
import json, os, signal, socket, sys
import checker.attestation, checker.run.prepare, checker.run.running, checker.run.stored
import checker.verification, checker.testing.simulated
from checker.cli import run_command

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    request, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)
        arguments, folder, environment = json.loads(request)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
        sys.argv = ["phigate", *arguments]
        code = run_command()
        sys.stdout.flush()
        connection.sendall(bytes([code]))
        os._exit(code)
    for stream in streams:
        os.close(stream)
    connection.close()
"""

CLIENT = """\
#!{python} -IS
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({address!r})
request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(connection, [request], [0, 1, 2])
sys.exit(connection.recv(1)[0])
"""


@contextmanager
def warm_phigate() -> Iterator[Path]:
    """Yield a folder with the command `phigate`; it goes when the context does."""
    folder = Path(tempfile.mkdtemp(prefix="phigate"))  # short: a socket's path may have 107 bytes
    address = str(folder / "socket")
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SERVER, address],
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        command = folder / "bin" / "phigate"
        command.parent.mkdir()
        command.write_text(CLIENT.format(python=sys.executable, address=address))
        command.chmod(0o755)
        yield command.parent
    finally:
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()
        shutil.rmtree(folder)
