"""The C daemon that comes with the package: where it is, and one as a child of this process.

The original runs its server inside the Python process; here it is a process of its own, with HTTP on its manage
port. `register_server()` starts one, and the functions beside it speak to it."""

from __future__ import annotations

import atexit
import http.client
import json
import os
import subprocess
import tempfile
import time
from typing import Any

from .config import ServerConfig
from .errors import InfiniStoreException

__all__ = ["daemon_path", "register_server", "purge_kv_map", "get_kvmap_len", "evict_cache"]

_START_TIMEOUT = 60.0
_HTTP_TIMEOUT = 30.0


def daemon_path() -> str:
    """The daemon's program. INFINISTORE_DAEMON in the environment goes before the one in the package."""
    path = os.environ.get("INFINISTORE_DAEMON") or os.path.join(os.path.dirname(__file__), "bin", "infinistore")
    if not os.access(path, os.X_OK):
        raise InfiniStoreException(f"no daemon at {path}: install the package with pip, or set INFINISTORE_DAEMON")
    return path


def _arguments(config: ServerConfig) -> list[str]:
    """Options for what differs from the defaults, which are the daemon's too."""
    default = vars(ServerConfig())
    arguments = [f"--service-port={config.service_port}", f"--manage-port={config.manage_port}"]
    for name, value in vars(config).items():
        option = "--" + name.replace("_", "-")
        if name in ("service_port", "manage_port") or name not in default or value == default[name]:
            continue
        arguments.append(option if value is True else f"{option}={value}")
    return arguments


class _Server:
    """A daemon that lives as long as this process, at most."""

    def __init__(self, config: ServerConfig) -> None:
        host = config.host.split(",")[0]
        self._host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        self._port = config.manage_port
        with tempfile.TemporaryDirectory() as directory:
            ports = os.path.join(directory, "ports")
            command = [daemon_path(), *_arguments(config), f"--log-level={config.log_level}", f"--port-file={ports}"]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
            self._wait_until_ready(ports)

    def _wait_until_ready(self, ports: str) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while not os.path.exists(ports):
            code = self._process.poll()
            if code is not None:
                raise InfiniStoreException(f"Failed to register server: the daemon ended with {code}")
            if time.monotonic() > deadline:
                self.stop()
                raise InfiniStoreException("Failed to register server: the daemon is not ready")
            time.sleep(0.01)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def request(self, method: str, path: str) -> Any:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_HTTP_TIMEOUT)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            body = response.read()
        except OSError as error:
            raise InfiniStoreException(f"{method} {path}: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise InfiniStoreException(f"{method} {path}: {response.status} {body.decode(errors='replace')}")
        return json.loads(body)


_servers: list[_Server] = []


def _server() -> _Server:
    if not _servers or not _servers[-1].is_running():
        raise InfiniStoreException(
            "no server was started by this process; use its manage port: GET /kvmap_len, POST /purge, POST /evict"
        )
    return _servers[-1]


@atexit.register
def _stop_all() -> None:
    for server in _servers:
        if server.is_running():
            server.stop()


def register_server(loop: Any, config: ServerConfig) -> None:
    """Starts a server with this configuration, and returns when it serves. It is a process of its own, which ends with
    this one.

    Args:
        loop: not used; there for the original's callers.

    Raises InfiniStoreException when the server does not start."""
    config.verify()
    _servers.append(_Server(config))


def get_kvmap_len() -> int:
    """How many keys the server that this process started has."""
    return int(_server().request("GET", "/kvmap_len")["len"])


def purge_kv_map() -> None:
    """Removes everything from the server that this process started."""
    _server().request("POST", "/purge")


def evict_cache(min_threshold: float, max_threshold: float) -> None:
    """When more than `max_threshold` of the pool is used, evicts until `min_threshold` is, in the server that this process
    started."""
    if min_threshold >= max_threshold:
        raise InfiniStoreException("min_threshold should be less than max_threshold")
    if min_threshold > 1 or min_threshold < 0:
        raise InfiniStoreException("min_threshold should be in (0, 1)")
    if max_threshold > 1 or max_threshold < 0:
        raise InfiniStoreException("max_threshold should be in (0, 1)")
    server = _server()
    stats = server.request("GET", "/stats")
    total = stats["pool_size_bytes"]
    used = total - stats["pool_bytes"]["free"]
    if used > max_threshold * total:
        server.request("POST", f"/evict?bytes={int(used - min_threshold * total)}")
