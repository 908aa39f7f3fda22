"""What the tests of the Python package share: a real daemon that can be stopped and started again, connections."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from typing import Any, Callable, Iterator

import pytest

import infinistore
from infinistore.daemon import daemon_path

START_SECONDS = 30
#: RDMA: run below ci/rxe/run, which says which devices there are
TYPE = os.environ.get("IST_TEST_CONNECTION_TYPE", infinistore.TYPE_TCP)
DEVICES = os.environ.get("RXE_DEVICES", "").split()
#: A user-mode kernel has a host's mapping for each page: with more it runs into vm.max_map_count.
POOL_MIB = 64 if TYPE == infinistore.TYPE_RDMA else 256
HOST = os.environ["RXE_ADDRESSES"].split()[0] if TYPE == infinistore.TYPE_RDMA else "127.0.0.1"


def wait_for(condition: Callable[[], Any], seconds: float = START_SECONDS) -> Any:
    """What `condition` returns, as soon as it is true."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.005)


def free_ports(count: int) -> list[int]:
    """Different ones, on which nobody listens."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in taken]


def address(buffer: Any) -> int:
    """As the users of the original get it."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def new_key(prefix: str = "key") -> str:
    return f"{prefix}/{uuid.uuid4()}"


class Server:
    """A daemon on ports that the kernel picked, the same ones after a restart."""

    def __init__(self, *options: str, host: str = HOST) -> None:
        self.options = ((f"--dev-name={DEVICES[0]}",) if TYPE == infinistore.TYPE_RDMA else ()) + options
        self.host = host
        self.port = 0
        self.manage_port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            file = os.path.join(directory, "ports")
            self.process = subprocess.Popen(
                [
                    daemon_path(),
                    f"--host={self.host}",
                    f"--service-port={self.port}",
                    f"--manage-port={self.manage_port}",
                    f"--prealloc-size={POOL_MIB}M",
                    "--minimal-allocate-size=4K",
                    "--log-level=error",
                    f"--port-file={file}",
                    *self.options,
                ],
                # A sanitizer's library that this process was given is not for the daemon.
                env={name: value for name, value in os.environ.items() if name != "LD_PRELOAD"},
            )
            process = self.process
            wait_for(lambda: os.path.exists(file) or process.poll() is not None)
            assert process.poll() is None, "the daemon did not start"
            with open(file, encoding="ascii") as lines:
                for line in lines:
                    name, place = line.split()
                    port = int(place.rsplit(":", 1)[1])
                    if name == "service":
                        self.port = port
                    elif name == "manage":
                        self.manage_port = port

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        self.process.wait()

    def config(self, **more: Any) -> infinistore.ClientConfig:
        values: dict[str, Any] = {
            "host_addr": self.host,
            "service_port": self.port,
            "connection_type": TYPE,
            "link_type": infinistore.LINK_ETHERNET,
            "connect_timeout": 10.0,
            "request_timeout": 20.0,
        }
        if TYPE == infinistore.TYPE_RDMA:
            values["dev_name"] = DEVICES[-1]
        values.update(more)
        return infinistore.ClientConfig(**values)


#: Run everything in uvloop's loops, as the original's examples do.
UVLOOP = bool(os.environ.get("IST_TEST_UVLOOP"))
if UVLOOP:
    import asyncio

    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

#: Looks into asyncio's own loop.
asyncio_only = pytest.mark.of_asyncio()
tcp_only = pytest.mark.of_transport(infinistore.TYPE_TCP)
rdma_only = pytest.mark.of_transport(infinistore.TYPE_RDMA)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "of_transport(type): makes sense with connections of this type alone")
    config.addinivalue_line("markers", "of_asyncio(): looks into asyncio's own loop")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def fits(item: pytest.Item) -> bool:
        return all(mark.args == (TYPE,) for mark in item.iter_markers("of_transport")) and not (
            UVLOOP and item.get_closest_marker("of_asyncio")
        )

    items[:] = [item for item in items if fits(item)]


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The daemon that most tests share, empty."""
    with infinistore.InfinityConnection(shared_server.config()) as connection:
        connection.purge()
    yield shared_server


@pytest.fixture
def own_server() -> Iterator[Server]:
    """One that the test may kill."""
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def connection(server: Server) -> Iterator[infinistore.InfinityConnection]:
    connection = infinistore.InfinityConnection(server.config())
    connection.connect()
    yield connection
    connection.close()
