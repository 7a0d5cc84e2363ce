"""What is settled before Ray is imported: where it listens, and whether an address can be used.

Ray reads its environment once, on import. A cluster of the run's own is told there to stay on
loopback, to ask for a token that is drawn for this process, and to send no usage report.

Where nothing of Ray's listens, Ray tries for over five minutes and then ends the process. So an
address is tried first: whether anything listens there, and whether a process that may be ended gets
to use it.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from ipaddress import ip_address

from checker.errors import ExecutorError, UsageError

_ALWAYS = {"RAY_gcs_rpc_server_reconnect_timeout_s": "600"}
"""Without its head node, Ray ends this process after that long; it is left before."""
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Stay on 127.0.0.1; named after the systems where that is the default."""
_OWN = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}

CONNECT_TIMEOUT_S = 5
JOIN_TIMEOUT_S = 120
_JOIN = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='error')"


def choose_network(address: str | None) -> None:
    """Set the environment for a cluster at an address, or for one of the run's own.

    Raises:
        UsageError: the address is not HOST:PORT.
    """
    is_local = address is None or _is_loopback(address)
    os.environ |= _ALWAYS | (_LOOPBACK if is_local else {})
    if address is None:
        os.environ |= _OWN | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}


def is_listening(address: str) -> bool:
    """Whether anything listens at an address."""
    try:
        _connect(address)
    except OSError:
        return False
    return True


def require_cluster(address: str) -> None:
    """Try whether a Ray cluster can be used.

    Raises:
        UsageError: the address is not HOST:PORT.
        ExecutorError: nothing listens there, or nothing that lets this Ray in.
    """
    try:
        _connect(address)
    except OSError as error:
        raise ExecutorError(
            f"--ray-address {address}: cannot be reached: {error.strerror or error}; is the cluster"
            " up, and is this the address that `ray start --head` printed?"
        ) from error
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _JOIN, address],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=JOIN_TIMEOUT_S,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        raise ExecutorError(
            f"--ray-address {address}: something listens there that does not answer as the head"
            " node of a Ray cluster; the port is the one that `ray start --head` printed, not that"
            " of the dashboard or of the Ray client"
        ) from error
    if tried.returncode:
        said = [line for line in tried.stderr.splitlines() if line.strip()]
        raise ExecutorError(
            f"--ray-address {address}: the cluster cannot be used:"
            f" {said[-1][:300] if said else f'exit code {tried.returncode}'}"
        )


def _connect(address: str) -> None:
    socket.create_connection(_host_and_port(address), timeout=CONNECT_TIMEOUT_S).close()


def _host_and_port(address: str) -> tuple[str, int]:
    """Return host and port of a Ray cluster's address.

    Raises:
        UsageError: it is not HOST:PORT.
    """
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(
            f"--ray-address {address}: write HOST:PORT of the cluster's head node, as `ray start"
            " --head` prints it"
        )
    return host.strip("[]"), int(port)


def _is_loopback(address: str) -> bool:
    """Return whether a cluster's address is on this machine only."""
    host, _ = _host_and_port(address)
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
