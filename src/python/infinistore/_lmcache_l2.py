# mypy: allow-subclassing-any
"""LMCache's multi-process mode: an L2 adapter.

Its controllers submit tasks from their threads and wait for three event descriptors; here a loop of its own runs the
tasks, each as one request. Objects are stored under their key's fields; what is there already is not sent again. The
server evicts by itself: a "lock" is no more than a lookup, and a load may find less than its lookup."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from typing import Any, Coroutine

from lmcache.native_storage_ops import Bitmap
from lmcache.v1.distributed.internal_api import L2StoreResult
from lmcache.v1.distributed.l2_adapters.base import L2AdapterInterface
from lmcache.v1.distributed.l2_adapters.config import L2AdapterConfigBase

from .config import LINK_ETHERNET, TYPE_AUTO, ClientConfig
from .errors import InfiniStoreException, Status
from .lib import InfinityConnection
from .log import Logger

__all__ = ["InfiniStoreL2Adapter", "InfiniStoreL2AdapterConfig"]

_GIB = 1 << 30
#: os.eventfd() is younger than what some type checkers know of it.
_events: Any = os
_CLOSE_SECONDS = 5.0


class InfiniStoreL2AdapterConfig(L2AdapterConfigBase):
    """What "adapter_params" may say; `help()` lists it."""

    def __init__(
        self,
        host: str,
        port: int = 22345,
        connection_type: str = TYPE_AUTO,
        device: str | None = None,
        link_type: str = LINK_ETHERNET,
        request_timeout: float = 30.0,
        key_prefix: str = "",
        max_capacity_gb: float = 0.0,
    ) -> None:
        self.host = host
        self.port = port
        self.connection_type = connection_type
        self.device = device
        self.link_type = link_type
        self.request_timeout = request_timeout
        self.key_prefix = key_prefix
        self.max_capacity_gb = max_capacity_gb

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> InfiniStoreL2AdapterConfig:
        fields = {name: value for name, value in d.items() if name not in ("type", "eviction", "serde", "persist_enabled")}
        if not isinstance(fields.get("host"), str) or not fields["host"]:
            raise ValueError("host must be a non-empty string")
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"{cls.__name__}: {error}") from error

    @classmethod
    def help(cls) -> str:
        return (
            "InfiniStore L2 adapter config fields:\n"
            "- host (str): of the server (required)\n"
            "- port (int): its service port (default 22345)\n"
            "- connection_type (str): RDMA, TCP or AUTO (default AUTO)\n"
            "- device (str): RDMA device (default any)\n"
            "- link_type (str): Ethernet or IB (default Ethernet)\n"
            "- request_timeout (float): seconds (default 30)\n"
            "- key_prefix (str): before each key, to share a server (default none)\n"
            "- max_capacity_gb (float): report usage against this, and let LMCache evict (default 0: the server "
            "evicts by itself)"
        )

    def client_config(self) -> ClientConfig:
        more = {} if self.device is None else {"dev_name": self.device}
        return ClientConfig(
            host_addr=self.host,
            service_port=self.port,
            connection_type=self.connection_type,
            link_type=self.link_type,
            request_timeout=self.request_timeout,
            **more,
        )


class InfiniStoreL2Adapter(L2AdapterInterface):
    """See the module's text."""

    def __init__(
        self,
        config: InfiniStoreL2AdapterConfig | dict[str, Any],
        l1_memory_desc: Any = None,
        **_more: Any,
    ) -> None:
        if isinstance(config, dict):
            config = InfiniStoreL2AdapterConfig.from_dict(config)
        super().__init__(max_capacity_bytes=int(config.max_capacity_gb * _GIB))
        self._config = config
        self._connection = InfinityConnection(config.client_config())
        self._connection.connect()
        self._register(l1_memory_desc)
        self._fds: list[int] = [_events.eventfd(0, _events.EFD_NONBLOCK | _events.EFD_CLOEXEC) for _ in range(3)]
        self._store_fd, self._lookup_fd, self._load_fd = self._fds
        self._lock = threading.RLock()  # a task that is left over ends wherever its garbage is collected
        self._tasks = 0
        self._stored: dict[int, Any] = {}
        self._looked_up: dict[int, Any] = {}
        self._loaded: dict[int, Any] = {}
        #: of what LMCache may evict; nothing is kept where it does not
        self._sizes: dict[Any, int] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="infinistore-l2", daemon=True)
        self._thread.start()

    def _register(self, l1_memory_desc: Any) -> None:
        """LMCache's memory, as far as it stays where it is. The rest goes over TCP, and so does all where that fails."""
        size = getattr(l1_memory_desc, "stable_registration_size", getattr(l1_memory_desc, "size", None))
        if not size:
            return
        try:
            self._connection.register_mr(l1_memory_desc.ptr, size)
        except InfiniStoreException as error:
            Logger.warn(f"LMCache's objects go over TCP: {error}")

    # ---- descriptors ----------------------------------------------------------------------------------

    def get_store_event_fd(self) -> int:
        return self._store_fd

    def get_lookup_and_lock_event_fd(self) -> int:
        return self._lookup_fd

    def get_load_event_fd(self) -> int:
        return self._load_fd

    # ---- tasks ------------------------------------------------------------------------------------------

    def submit_store_task(self, keys: list[Any], objects: list[Any]) -> int:
        return self._start(self._store(keys, objects), self._stored, self._store_fd, L2StoreResult(False, 0))

    def pop_completed_store_tasks(self) -> dict[int, Any]:
        with self._lock:
            stored = dict(self._stored)
            self._stored.clear()
        return stored

    def submit_lookup_and_lock_task(self, keys: list[Any], layout_desc: Any = None) -> int:
        return self._start(self._look_up(keys), self._looked_up, self._lookup_fd, Bitmap(len(keys)))

    def query_lookup_and_lock_result(self, task_id: int) -> Any:
        with self._lock:
            return self._looked_up.pop(task_id, None)

    def submit_unlock(self, keys: list[Any]) -> None:
        """There is nothing to undo."""

    def submit_load_task(self, keys: list[Any], objects: list[Any]) -> int:
        return self._start(self._load(keys, objects), self._loaded, self._load_fd, Bitmap(len(keys)))

    def query_load_result(self, task_id: int) -> Any:
        with self._lock:
            return self._loaded.pop(task_id, None)

    def delete(self, keys: list[Any]) -> None:
        try:
            self._connection.delete_keys([self._key(key) for key in keys])
        except InfiniStoreException as error:
            Logger.warn(f"L2 delete: {error}")
            return
        with self._lock:
            known = [(key, self._sizes.pop(key)) for key in keys if key in self._sizes]
        if known:
            self._notify_keys_deleted([key for key, _ in known], [size for _, size in known])

    # ---- in the loop --------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, Any], results: dict[int, Any], fd: int, failure: Any) -> int:
        """Whatever happens, the task gets a result and its descriptor a signal."""
        with self._lock:
            task_id = self._tasks
            self._tasks += 1

        async def run() -> None:
            result = failure
            try:
                result = await work
            except Exception as error:
                Logger.warn(f"L2 task {task_id}: {error}")
            finally:
                with self._lock:
                    results[task_id] = result
                    if self._fds:  # else this is the end of a task whose loop is gone
                        _events.eventfd_write(fd, 1)

        asyncio.run_coroutine_threadsafe(run(), self._loop)
        return task_id

    def _key(self, key: Any) -> str:
        text = f"{self._config.key_prefix}{key.model_name}@{key.kv_rank:08x}@{key.chunk_hash.hex()}"
        group, salt = getattr(key, "object_group_id", 0), getattr(key, "cache_salt", "")
        return f"{text}@{group:x}@{salt}" if group or salt else text

    async def _store(self, keys: list[Any], objects: list[Any]) -> Any:
        values = [obj.byte_array for obj in objects]
        statuses = await self._connection.put_batch_async([self._key(key) for key in keys], values, if_absent=True)
        sent = [(key, len(value)) for key, value, status in zip(keys, values, statuses) if status is Status.OK]
        if self.supports_global_eviction and sent:
            with self._lock:
                self._sizes.update(sent)
            self._notify_keys_stored([key for key, _ in sent], [size for _, size in sent])
        complete = all(status in (Status.OK, Status.EXISTS) for status in statuses)
        return L2StoreResult(complete, sum(size for _, size in sent))

    async def _look_up(self, keys: list[Any]) -> Any:
        return self._found(keys, await self._connection.exists_batch_async([self._key(key) for key in keys]))

    async def _load(self, keys: list[Any], objects: list[Any]) -> Any:
        buffers = [obj.byte_array for obj in objects]
        results = await self._connection.get_batch_into_async([self._key(key) for key in keys], buffers)
        # A value of another length is another layout's: what is in the buffer now is nobody's.
        return self._found(keys, [r.ok and r.size == len(buffer) for r, buffer in zip(results, buffers)])

    def _found(self, keys: list[Any], there: list[bool]) -> Any:
        bitmap = Bitmap(len(keys))
        for i, is_there in enumerate(there):
            if is_there:
                bitmap.set(i)
        if self.supports_global_eviction:
            self._notify_keys_accessed([key for key, is_there in zip(keys, there) if is_there])
        return bitmap

    # ---- the end --------------------------------------------------------------------------------------------

    def report_status(self) -> dict[str, Any]:
        try:
            self._connection.ping(timeout=1.0)
            healthy = True
        except InfiniStoreException:
            healthy = False
        return {
            "is_healthy": healthy,
            "type": type(self).__name__,
            "endpoint": f"{self._config.host}:{self._config.port}",
            "transport": "RDMA" if self._connection.rdma_connected else "TCP",
        }

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._connection.close()  # what is in flight ends, and its tasks get their results

        async def finish() -> None:
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*rest, return_exceptions=True)

        try:
            asyncio.run_coroutine_threadsafe(finish(), self._loop).result(_CLOSE_SECONDS)
        except concurrent.futures.TimeoutError:  # another thread is in a call, with which they would end
            Logger.warn("L2: closed with tasks in flight")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        with self._lock:
            fds, self._fds = self._fds, []
        for fd in fds:
            os.close(fd)
