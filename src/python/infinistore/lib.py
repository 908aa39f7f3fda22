"""The connection: InfiniStore's `InfinityConnection`, and batch calls beyond it."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import weakref
from types import TracebackType
from typing import Any, Iterable, NamedTuple, Sequence, Union

from . import _infinistore
from .buffers import address_of, as_array, as_values
from .channel import Channel
from .config import LINK_ETHERNET, LINK_IB, TYPE_AUTO, TYPE_RDMA, TYPE_TCP, ClientConfig, ServerConfig
from .daemon import evict_cache, get_kvmap_len, purge_kv_map, register_server
from .errors import InfiniStoreException, InfiniStoreKeyNotFound, Status, failed
from .log import Logger

__all__ = [
    "InfinityConnection",
    "GetResult",
    "register_server",
    "ClientConfig",
    "ServerConfig",
    "TYPE_RDMA",
    "TYPE_TCP",
    "TYPE_AUTO",
    "Logger",
    "LINK_ETHERNET",
    "LINK_IB",
    "purge_kv_map",
    "get_kvmap_len",
    "InfiniStoreException",
    "InfiniStoreKeyNotFound",
    "Status",
    "evict_cache",
]

Key = Union[str, bytes]
_NS_PER_SEC = 1_000_000_000
_FINISHED = 200


class GetResult(NamedTuple):
    """Of one key of `get_batch_into()`."""

    status: Status
    #: the value's true length with OK and TOO_SMALL, else 0
    size: int

    @property
    def ok(self) -> bool:
        return self.status is Status.OK


def _endpoint(config: ClientConfig) -> str:
    host = str(config.host_addr)
    if host.startswith("unix:"):
        return host
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{host}:{config.service_port}"


class InfinityConnection:
    """A connection to a server.

    Any thread and any number of event loops may use it at the same time. Coroutines belong to the loop that awaits them;
    the other methods block, without Python's lock. Every call ends by its deadline. When the server goes away, what is in
    flight fails, and the next call connects again.

    Attributes:
        config (ClientConfig): as given.
        rdma_connected (bool): values move by RDMA.
    """

    OP_RDMA_READ = "A"

    def __init__(self, config: ClientConfig) -> None:
        config.verify()
        self.config = config
        self.rdma_connected = False
        self.conn: _infinistore.Client | None = None
        self._request_timeout_ns = int(config.request_timeout * _NS_PER_SEC)
        self._channels: dict[asyncio.AbstractEventLoop, Channel] = {}
        self._lock = threading.Lock()
        Logger.set_log_level(config.log_level)
        _connections.add(self)

    # ---- life ---------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Connects, within `config.connect_timeout`. No event loop needs to run.

        Raises InfiniStoreException when that fails or, with RDMA, when it is connected already."""
        if self.rdma_connected:
            raise InfiniStoreException("Already connected to remote instance")
        config = self.config
        if config.connection_type == TYPE_RDMA:
            raise InfiniStoreException("Failed to setup RDMA connection: this client speaks TCP only", Status.DEVICE)
        try:
            client = _infinistore.Client(
                _endpoint(config), int(config.connect_timeout * _NS_PER_SEC), self._request_timeout_ns
            )
        except ConnectionError as error:
            raise InfiniStoreException(f"Failed to initialize remote connection: {error}", Status.PEER) from error
        if config.connection_type == TYPE_AUTO:
            Logger.warn(f"no RDMA to {_endpoint(config)}: using TCP")
        self.close()
        with self._lock:
            self.conn = client

    async def connect_async(self) -> None:
        """The same, without blocking the loop."""
        await asyncio.get_running_loop().run_in_executor(None, self.connect)

    def close(self) -> None:
        """Ends what is in flight, and the connection. May be called again, from any thread."""
        with self._lock:
            client, self.conn = self.conn, None
            channels, self._channels = self._channels, {}
            self.rdma_connected = False
        if client is not None:
            client.close()
        for channel in channels.values():
            channel.retire()

    def __del__(self) -> None:
        if getattr(self, "conn", None) is not None:
            self.close()

    def __enter__(self) -> InfinityConnection:
        if self.conn is None:
            self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> InfinityConnection:
        if self.conn is None:
            await self.connect_async()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def resolve_hostname(hostname: str) -> str:
        """A name's first address. `connect()` resolves names by itself."""
        try:
            infos = socket.getaddrinfo(hostname, None, socket.AF_UNSPEC, socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise InfiniStoreException(f"Failed to resolve hostname '{hostname}': {error}") from error
        return str(infos[0][4][0])

    def _client(self) -> _infinistore.Client:
        client = self.conn
        if client is None:
            raise InfiniStoreException("not connected", Status.PEER)
        return client

    def _channel(self) -> Channel:
        loop = asyncio.get_running_loop()
        channel = self._channels.get(loop)
        if channel is not None:
            return channel
        with self._lock:
            for other, old in list(self._channels.items()):
                if old.discard_if_loop_is_closed():
                    del self._channels[other]
            channel = self._channels[loop] = Channel(self._client(), loop)
        return channel

    def _timeout_ns(self, timeout: float | None) -> int:
        return self._request_timeout_ns if timeout is None else max(int(timeout * _NS_PER_SEC), 1)

    def _call(self, kind: int, keys: Sequence[Any], values: Any, flags: int, timeout: float | None) -> tuple[int, Any]:
        return self._client().call(kind, keys, values, flags, self._timeout_ns(timeout))

    # ---- TCP ----------------------------------------------------------------------------------------

    def tcp_read_cache(self, key: Key, *, timeout: float | None = None, **kwargs: Any) -> Any:
        """The value: a numpy array of its bytes, or a bytearray where there is no numpy.

        Raises InfiniStoreKeyNotFound."""
        status, value = self._client().read(key, self._timeout_ns(timeout))
        if value is None:
            raise failed("Failed to read from infinistore", status)
        return as_array(value)

    def tcp_write_cache(self, key: Key, ptr: int, size: int, *, timeout: float | None = None, **kwargs: Any) -> None:
        """Stores `size` bytes from address `ptr` under `key`, replacing what is there."""
        if len(key) == 0:
            raise InfiniStoreException("key is empty", Status.INVALID)
        if size == 0:
            raise InfiniStoreException("size is 0", Status.INVALID)
        if ptr == 0:
            raise InfiniStoreException("ptr is 0", Status.INVALID)
        status, _ = self._call(_infinistore.PUT, (key,), ((ptr, size),), 0, timeout)
        if status != Status.OK:
            raise failed("Failed to write to infinistore", status)

    # ---- registered memory ----------------------------------------------------------------------------

    def register_mr(self, arg: Any, size: int | None = None) -> int:
        """Makes memory known to the connection; `rdma_*` calls want it. Any pointer inside is good then.

        Args:
            arg: an address, with `size`; or a tensor, an array or a writable buffer, without.

        Returns 0. Registering again, or what overlaps, is good."""
        address, bytes_ = address_of(arg, self.rdma_connected) if size is None else (int(arg), int(size))
        try:
            return self._client().register(address, bytes_)
        except (ValueError, OverflowError) as error:
            raise InfiniStoreException(f"register memory region failed: {error}", Status.INVALID) from error

    async def rdma_write_cache_async(self, blocks: Iterable[tuple[Key, int]], block_size: int, ptr: int) -> int:
        """Stores `block_size` bytes from `ptr` + offset under each key, all of them or none.

        Args:
            blocks: pairs (key, offset).
            ptr: an address in registered memory.

        Returns 200."""
        return await self._move(_infinistore.PUT_BLOCKS, "write to", blocks, block_size, ptr)

    async def rdma_read_cache_async(self, blocks: Iterable[tuple[Key, int]], block_size: int, ptr: int) -> int:
        """Reads the value of each key to `ptr` + offset; what is left of `block_size` bytes stays as it is.

        Returns 200; raises InfiniStoreKeyNotFound when any key is missing: the others were read."""
        return await self._move(_infinistore.GET_BLOCKS, "read from", blocks, block_size, ptr)

    async def _move(
        self, kind: int, verb: str, blocks: Iterable[tuple[Key, int]], block_size: int, ptr: int
    ) -> int:
        blocks = tuple(blocks)
        status, detail = await self._channel().call(kind, blocks, (ptr, block_size), 0, self._request_timeout_ns)
        if status == Status.OK:
            return _FINISHED
        if status == _infinistore.NOT_REGISTERED:
            key, offset = blocks[detail]
            raise InfiniStoreException(
                f"Please register memory first: the {block_size} bytes at {ptr} + {offset} for {key!r} are not in "
                "registered memory",
                Status.INVALID,
            )
        if detail and Status.NOT_FOUND in detail and not Status(status).ends_request:
            raise InfiniStoreKeyNotFound()
        raise failed(f"Failed to {verb} infinistore", status)

    # ---- keys -----------------------------------------------------------------------------------------

    def check_exist(self, key: Key) -> bool:
        """Whether the key is there."""
        status, present = self._call(_infinistore.EXISTS, (key,), None, 0, None)
        if status != Status.OK:
            raise failed("Failed to check if this key exists", status)
        return bool(present[0])

    def get_match_last_index(self, keys: Sequence[Key]) -> int:
        """The index of the last key that is there. Raises when none is."""
        status, index = self._call(_infinistore.MATCH_LAST, keys, None, 0, None) if keys else (Status.OK, -1)
        if status != Status.OK:
            raise failed("Failed to match", status)
        if index < 0:
            raise InfiniStoreException("can't find a match", Status.NOT_FOUND)
        return int(index)

    def delete_keys(self, keys: Sequence[Key]) -> int:
        """Deletes the keys; returns how many were there."""
        status, removed = self._call(_infinistore.REMOVE, keys, None, 0, None) if keys else (Status.OK, 0)
        if status != Status.OK:
            raise failed("somethings are wrong, not all the specified keys were deleted", status)
        return int(removed)

    # ---- batches ----------------------------------------------------------------------------------------

    def put_batch(
        self,
        keys: Sequence[Key],
        values: Sequence[Any],
        *,
        if_absent: bool = False,
        timeout: float | None = None,
    ) -> list[Status]:
        """Stores each value under its key; they become visible together.

        Args:
            values: buffers, arrays, tensors, or pairs (address, bytes).
            if_absent: what is there stays; its key answers EXISTS.

        Returns the status of each key; raises when the request failed as a whole."""
        if not keys:
            return []
        items = as_values(values, self.rdma_connected)
        flags = _infinistore.IF_ABSENT if if_absent else 0
        return _put_results(self._call(_infinistore.PUT, keys, items, flags, timeout))

    async def put_batch_async(
        self,
        keys: Sequence[Key],
        values: Sequence[Any],
        *,
        if_absent: bool = False,
        timeout: float | None = None,
    ) -> list[Status]:
        """`put_batch()`, awaited."""
        if not keys:
            return []
        items = as_values(values, self.rdma_connected)
        flags = _infinistore.IF_ABSENT if if_absent else 0
        call = self._channel().call(_infinistore.PUT, keys, items, flags, self._timeout_ns(timeout))
        return _put_results(await call)

    def get_batch_into(
        self, keys: Sequence[Key], buffers: Sequence[Any], *, timeout: float | None = None
    ) -> list[GetResult]:
        """Reads each value into its buffer; a longer buffer's tail stays as it is.

        Args:
            buffers: writable buffers, arrays, tensors, or pairs (address, bytes).

        Returns status and true length of each; raises when the request failed as a whole."""
        if not keys:
            return []
        items = as_values(buffers, self.rdma_connected)
        return _get_results(self._call(_infinistore.GET, keys, items, 0, timeout))

    async def get_batch_into_async(
        self, keys: Sequence[Key], buffers: Sequence[Any], *, timeout: float | None = None
    ) -> list[GetResult]:
        """`get_batch_into()`, awaited."""
        if not keys:
            return []
        items = as_values(buffers, self.rdma_connected)
        call = self._channel().call(_infinistore.GET, keys, items, 0, self._timeout_ns(timeout))
        return _get_results(await call)

    def exists_batch(self, keys: Sequence[Key], *, timeout: float | None = None) -> list[bool]:
        """Which of the keys are there, in one round trip."""
        return _exists_results(self._call(_infinistore.EXISTS, keys, None, 0, timeout)) if keys else []

    async def exists_batch_async(self, keys: Sequence[Key], *, timeout: float | None = None) -> list[bool]:
        """`exists_batch()`, awaited."""
        if not keys:
            return []
        call = self._channel().call(_infinistore.EXISTS, keys, None, 0, self._timeout_ns(timeout))
        return _exists_results(await call)

    def match_prefix(self, keys: Sequence[Key], *, timeout: float | None = None) -> int:
        """How many leading keys are there: the first that is not ends the count."""
        return _number(self._call(_infinistore.MATCH_PREFIX, keys, None, 0, timeout)) if keys else 0

    async def match_prefix_async(self, keys: Sequence[Key], *, timeout: float | None = None) -> int:
        """`match_prefix()`, awaited."""
        if not keys:
            return 0
        call = self._channel().call(_infinistore.MATCH_PREFIX, keys, None, 0, self._timeout_ns(timeout))
        return _number(await call)

    # ---- the server -------------------------------------------------------------------------------------

    def ping(self, *, timeout: float | None = None) -> None:
        """One round trip; raises when it fails."""
        status, _ = self._client().ping(self._timeout_ns(timeout))
        if status != Status.OK:
            raise failed("ping", status)

    def stat(self, *, timeout: float | None = None) -> dict[str, float]:
        """The server's figures, under the names of GET /metrics."""
        status, figures = self._client().stat(self._timeout_ns(timeout))
        if status != Status.OK:
            raise failed("stat", status)
        return figures

    def purge(self, *, timeout: float | None = None) -> int:
        """Removes everything; returns how many keys went."""
        status, purged = self._client().purge(self._timeout_ns(timeout))
        if status != Status.OK:
            raise failed("purge", status)
        return purged

    def _forget(self) -> None:
        """In a child process: the connection is the parent's, and so is the state of its locks."""
        _of_parent.append((self.conn, self._channels))
        self.conn = None
        self._channels = {}
        self._lock = threading.Lock()
        self.rdma_connected = False


def _put_results(result: tuple[int, Any]) -> list[Status]:
    status, statuses = result
    if Status(status).ends_request:
        raise failed("Failed to write to infinistore", status)
    return [Status(item) for item in statuses]


def _get_results(result: tuple[int, Any]) -> list[GetResult]:
    status, (statuses, sizes) = result
    if Status(status).ends_request:
        raise failed("Failed to read from infinistore", status)
    return [GetResult(Status(item), size) for item, size in zip(statuses, sizes)]


def _exists_results(result: tuple[int, Any]) -> list[bool]:
    status, present = result
    if status != Status.OK:
        raise failed("Failed to check if these keys exist", status)
    return list(present)


def _number(result: tuple[int, Any]) -> int:
    status, number = result
    if status != Status.OK:
        raise failed("Failed to match", status)
    return int(number)


_connections: weakref.WeakSet[InfinityConnection] = weakref.WeakSet()
_of_parent: list[Any] = []


def _after_fork() -> None:
    for connection in list(_connections):
        connection._forget()


os.register_at_fork(after_in_child=_after_fork)
