"""The connection: InfiniStore's `InfinityConnection`, and batch calls beyond it."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
import weakref
from types import TracebackType
from typing import Any, Iterable, NamedTuple, Sequence, Union

from . import _infinistore, cuda
from .buffers import address_of, as_array, as_values
from .config import LINK_ETHERNET, LINK_IB, TYPE_AUTO, TYPE_RDMA, TYPE_TCP, ClientConfig, ServerConfig
from .daemon import evict_cache, get_kvmap_len, purge_kv_map, register_server
from .errors import InfiniStoreException, InfiniStoreKeyNotFound, Status, failed
from .line import NS_PER_SEC, Line, connect
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
_FINISHED = 200


class GetResult(NamedTuple):
    """Of one key of `get_batch_into()`."""

    status: Status
    #: the value's true length with OK and TOO_SMALL, else 0
    size: int

    @property
    def ok(self) -> bool:
        return self.status is Status.OK


class InfinityConnection:
    """A connection to a server.

    Any thread and any number of event loops may use it at the same time. Coroutines belong to the loop that awaits them;
    the other methods block, without Python's lock. Every call ends by its deadline. When the server goes away, what is in
    flight fails, and the next call connects again.

    Over RDMA, values that do not lie in registered memory go beside it, over a TCP connection that is made when it is
    first wanted. So do `tcp_*`.

    Attributes:
        config (ClientConfig): as given.
    """

    OP_RDMA_READ = "A"

    def __init__(self, config: ClientConfig) -> None:
        config.verify()
        self.config = config
        self._line: Line | None = None
        self._beside: Line | None = None
        self._request_timeout_ns = int(config.request_timeout * NS_PER_SEC)
        self._lock = threading.Lock()
        Logger.set_log_level(config.log_level)
        _connections.add(self)

    # ---- life ---------------------------------------------------------------------------------------

    @property
    def conn(self) -> _infinistore.Client | None:
        """The C client; None while not connected."""
        line = self._line
        return None if line is None else line.client

    @property
    def rdma_connected(self) -> bool:
        """Values in registered memory move by RDMA."""
        line = self._line
        return line is not None and line.client.is_rdma

    def connect(self) -> None:
        """Connects, within `config.connect_timeout`. No event loop needs to run.

        Raises InfiniStoreException when that fails or, with RDMA, when it is connected already."""
        if self.rdma_connected:
            raise InfiniStoreException("Already connected to remote instance")
        connection_type = self.config.effective_connection_type()
        line = connect(self.config, connection_type, int(self.config.connect_timeout * NS_PER_SEC))
        self.close()
        with self._lock:
            self._line = line

    async def connect_async(self) -> None:
        """The same, without blocking the loop."""
        await asyncio.get_running_loop().run_in_executor(None, self.connect)

    def close(self) -> None:
        """Ends what is in flight, and the connection. May be called again, from any thread."""
        with self._lock:
            lines = (self._line, self._beside)
            self._line = self._beside = None
        for line in lines:
            if line is not None:
                line.close()

    def __del__(self) -> None:
        if getattr(self, "_line", None) is not None:
            self.close()

    def __enter__(self) -> InfinityConnection:
        if self._line is None:
            self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> InfinityConnection:
        if self._line is None:
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

    def _forget(self) -> None:
        """In a child process: the connection is the parent's, and so is the state of its locks."""
        _of_parent.append((self._line, self._beside))
        self._line = self._beside = None
        self._lock = threading.Lock()

    # ---- how calls go ---------------------------------------------------------------------------------

    def _main(self) -> Line:
        line = self._line
        if line is None:
            raise InfiniStoreException("not connected", Status.PEER)
        return line

    def _tcp(self, deadline_ns: int) -> Line:
        """For memory that is not registered."""
        line = self._beside
        if line is None:
            line = connect(self.config, TYPE_TCP, _until(deadline_ns))
            with self._lock:
                if self._line is None:
                    line.close()
                    raise InfiniStoreException("not connected", Status.PEER)
                if self._beside is None:
                    self._beside = line
                else:
                    line.close()  # another thread was faster
                    line = self._beside
        return line

    def _timeout_ns(self, timeout: float | None) -> int:
        return self._request_timeout_ns if timeout is None else max(int(timeout * NS_PER_SEC), 1)

    def _call(self, kind: int, keys: Sequence[Any], timeout: float | None) -> tuple[int, Any]:
        return self._main().client.call(kind, keys, None, 0, self._timeout_ns(timeout))

    async def _call_async(self, kind: int, keys: Sequence[Any], timeout: float | None) -> tuple[int, Any]:
        return await self._main().channel().call(kind, keys, None, 0, self._timeout_ns(timeout))

    def _values(self, values: Sequence[Any]) -> list[Any]:
        items, on_device = as_values(values)
        if on_device and not self._main().client.demands_registered:
            raise InfiniStoreException("a tensor in a GPU's memory needs an RDMA connection; here use tensor.cpu()")
        return items

    def _move_values(
        self, kind: int, keys: Sequence[Any], values: Sequence[Any], flags: int, timeout: float | None
    ) -> tuple[int, Any]:
        items, timeout_ns = self._values(values), self._timeout_ns(timeout)
        deadline_ns = time.monotonic_ns() + timeout_ns
        status, detail = self._main().client.call(kind, keys, items, flags, timeout_ns)
        if status == _infinistore.NOT_REGISTERED:
            _demand_host_memory(values)
            status, detail = self._tcp(deadline_ns).client.call(kind, keys, items, flags, _until(deadline_ns))
        return status, detail

    async def _move_values_async(
        self, kind: int, keys: Sequence[Any], values: Sequence[Any], flags: int, timeout: float | None
    ) -> tuple[int, Any]:
        items, timeout_ns = self._values(values), self._timeout_ns(timeout)
        deadline_ns = time.monotonic_ns() + timeout_ns
        status, detail = await self._main().channel().call(kind, keys, items, flags, timeout_ns)
        if status == _infinistore.NOT_REGISTERED:
            _demand_host_memory(values)
            line = await asyncio.get_running_loop().run_in_executor(None, self._tcp, deadline_ns)
            status, detail = await line.channel().call(kind, keys, items, flags, _until(deadline_ns))
        return status, detail

    def _line_for_any_memory(self, deadline_ns: int) -> Line:
        main = self._main()
        return self._tcp(deadline_ns) if main.client.demands_registered else main

    # ---- TCP ----------------------------------------------------------------------------------------

    def tcp_read_cache(self, key: Key, *, timeout: float | None = None, **kwargs: Any) -> Any:
        """The value: a numpy array of its bytes, or a bytearray where there is no numpy.

        Raises InfiniStoreKeyNotFound."""
        deadline_ns = time.monotonic_ns() + self._timeout_ns(timeout)
        client = self._line_for_any_memory(deadline_ns).client
        status, value = client.read(key, _until(deadline_ns))
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
        deadline_ns = time.monotonic_ns() + self._timeout_ns(timeout)
        client = self._line_for_any_memory(deadline_ns).client
        status, _ = client.call(_infinistore.PUT, (key,), ((ptr, size),), 0, _until(deadline_ns))
        if status != Status.OK:
            raise failed("Failed to write to infinistore", status)

    # ---- registered memory ----------------------------------------------------------------------------

    def register_mr(self, arg: Any, size: int | None = None) -> int:
        """Makes memory known to the connection; `rdma_*` calls want it. Any pointer inside is good then.

        Args:
            arg: an address, with `size`; or a tensor, an array or a writable buffer, without.

        Returns 0. Registering again, or what overlaps, is good."""
        address, bytes_ = address_of(arg) if size is None else (int(arg), int(size))
        client = self._main().client
        try:
            if cuda.is_device_memory(address):
                with cuda.exported(address, bytes_) as (fd, offset):
                    status = client.register_dmabuf(fd, offset, address, bytes_)
            else:
                status = client.register(address, bytes_)
        except (ValueError, OverflowError) as error:
            raise InfiniStoreException(f"register memory region failed: {error}", Status.INVALID) from error
        if status != Status.OK:
            raise failed("register memory region failed", status)
        return 0

    def unregister_mr(self, arg: Any, size: int | None = None) -> int:
        """Takes back a `register_mr()` with the same arguments; after the last of several the memory may be freed.

        Returns 0; raises when there was none."""
        address, bytes_ = address_of(arg) if size is None else (int(arg), int(size))
        try:
            status = self._main().client.unregister(address, bytes_)
        except (ValueError, OverflowError) as error:
            raise InfiniStoreException(f"unregister memory region failed: {error}", Status.INVALID) from error
        if status != Status.OK:
            raise InfiniStoreException(f"unregister memory region failed: {Status(status).name}", Status(status))
        return 0

    async def rdma_write_cache_async(self, blocks: Iterable[tuple[Key, int]], block_size: int, ptr: int) -> int:
        """Stores `block_size` bytes from `ptr` + offset under each key; the keys become visible together.

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
        status, detail = await self._main().channel().call(
            kind, blocks, (ptr, block_size), 0, self._request_timeout_ns
        )
        if status == Status.OK:
            return _FINISHED
        if status == _infinistore.NOT_REGISTERED:
            key, offset = blocks[detail]
            raise InfiniStoreException(
                f"Please register memory first: the {block_size} bytes at {ptr} + {offset} for {key!r} are not in "
                "registered memory",
                Status.INVALID,
            )
        if detail and Status.NOT_FOUND in detail and not _STATUS[status].ends_request:
            raise InfiniStoreKeyNotFound()
        raise failed(f"Failed to {verb} infinistore", status)

    # ---- keys -----------------------------------------------------------------------------------------

    def check_exist(self, key: Key) -> bool:
        """Whether the key is there."""
        status, present = self._call(_infinistore.EXISTS, (key,), None)
        if status != Status.OK:
            raise failed("Failed to check if this key exists", status)
        return bool(present[0])

    def get_match_last_index(self, keys: Sequence[Key]) -> int:
        """The index of the last key that is there. Raises when none is."""
        status, index = self._call(_infinistore.MATCH_LAST, keys, None) if keys else (Status.OK, -1)
        if status != Status.OK:
            raise failed("Failed to match", status)
        if index < 0:
            raise InfiniStoreException("can't find a match", Status.NOT_FOUND)
        return int(index)

    def delete_keys(self, keys: Sequence[Key]) -> int:
        """Deletes the keys; returns how many were there."""
        status, removed = self._call(_infinistore.REMOVE, keys, None) if keys else (Status.OK, 0)
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
        flags = _infinistore.IF_ABSENT if if_absent else 0
        return _put_results(self._move_values(_infinistore.PUT, keys, values, flags, timeout))

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
        flags = _infinistore.IF_ABSENT if if_absent else 0
        return _put_results(await self._move_values_async(_infinistore.PUT, keys, values, flags, timeout))

    def get_batch_into(
        self, keys: Sequence[Key], buffers: Sequence[Any], *, timeout: float | None = None
    ) -> list[GetResult]:
        """Reads each value into its buffer; a longer buffer's tail stays as it is.

        Args:
            buffers: writable buffers, arrays, tensors, or pairs (address, bytes).

        Returns status and true length of each; raises when the request failed as a whole."""
        if not keys:
            return []
        return _get_results(self._move_values(_infinistore.GET, keys, buffers, 0, timeout))

    async def get_batch_into_async(
        self, keys: Sequence[Key], buffers: Sequence[Any], *, timeout: float | None = None
    ) -> list[GetResult]:
        """`get_batch_into()`, awaited."""
        if not keys:
            return []
        return _get_results(await self._move_values_async(_infinistore.GET, keys, buffers, 0, timeout))

    def exists_batch(self, keys: Sequence[Key], *, timeout: float | None = None) -> list[bool]:
        """Which of the keys are there, in one round trip."""
        return _exists_results(self._call(_infinistore.EXISTS, keys, timeout)) if keys else []

    async def exists_batch_async(self, keys: Sequence[Key], *, timeout: float | None = None) -> list[bool]:
        """`exists_batch()`, awaited."""
        return _exists_results(await self._call_async(_infinistore.EXISTS, keys, timeout)) if keys else []

    def match_prefix(self, keys: Sequence[Key], *, timeout: float | None = None) -> int:
        """How many leading keys are there: the first that is not ends the count."""
        return _number(self._call(_infinistore.MATCH_PREFIX, keys, timeout)) if keys else 0

    async def match_prefix_async(self, keys: Sequence[Key], *, timeout: float | None = None) -> int:
        """`match_prefix()`, awaited."""
        return _number(await self._call_async(_infinistore.MATCH_PREFIX, keys, timeout)) if keys else 0

    # ---- the server -------------------------------------------------------------------------------------

    def ping(self, *, timeout: float | None = None) -> None:
        """One round trip; raises when it fails."""
        status, _ = self._main().client.ping(self._timeout_ns(timeout))
        if status != Status.OK:
            raise failed("ping", status)

    def stat(self, *, timeout: float | None = None) -> dict[str, float]:
        """The server's figures, under the names of GET /metrics."""
        status, figures = self._main().client.stat(self._timeout_ns(timeout))
        if status != Status.OK:
            raise failed("stat", status)
        return figures

    def purge(self, *, timeout: float | None = None) -> int:
        """Removes everything; returns how many keys went."""
        status, purged = self._main().client.purge(self._timeout_ns(timeout))
        if status != Status.OK:
            raise failed("purge", status)
        return purged


def _until(deadline_ns: int) -> int:
    """What is left: at least a nanosecond, as 0 would mean the default."""
    return max(deadline_ns - time.monotonic_ns(), 1)


def _demand_host_memory(values: Sequence[Any]) -> None:
    if as_values(values)[1]:
        raise InfiniStoreException("a tensor in a GPU's memory wants register_mr() first", Status.INVALID)
    Logger.debug("values outside registered memory go over TCP")


#: looked up, as a call of Status() takes ten times as long
_STATUS = {int(status): status for status in Status}


def _put_results(result: tuple[int, Any]) -> list[Status]:
    status, statuses = result
    if _STATUS[status].ends_request:
        raise failed("Failed to write to infinistore", status)
    return [_STATUS[item] for item in statuses]


def _get_results(result: tuple[int, Any]) -> list[GetResult]:
    status, (statuses, sizes) = result
    if _STATUS[status].ends_request:
        raise failed("Failed to read from infinistore", status)
    return [GetResult(_STATUS[item], size) for item, size in zip(statuses, sizes)]


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
