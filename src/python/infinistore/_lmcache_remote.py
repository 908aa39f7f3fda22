# mypy: allow-subclassing-any
"""LMCache's classic mode: a connector for remote storage.

A chunk's bytes are stored under its key, straight out of LMCache's memory, and before that its shape under the key + "/meta".
Where LMCache knows the shape of all chunks (`save_chunk_meta` false), there are only the bytes. An error is a miss, and a
line in the log."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lmcache.v1.protocol import RemoteMetadata
from lmcache.v1.storage_backend.connector import ConnectorAdapter
from lmcache.v1.storage_backend.connector.base_connector import RemoteConnector

from .config import LINK_ETHERNET, TYPE_AUTO, ClientConfig
from .errors import InfiniStoreException
from .lib import InfinityConnection
from .log import Logger

__all__ = ["InfiniStoreConnectorAdapter", "InfiniStoreConnector"]

_SCHEME = "ist"
_META = "/meta"
#: Above what any release of LMCache packs into a chunk's metadata.
_META_BYTES_MAX = 1024


def _client_config(url: str) -> ClientConfig:
    """ist://HOST[:PORT][?type=AUTO&device=NAME&link=Ethernet&timeout=SECONDS]"""
    parts = urlsplit(url)
    if parts.scheme != _SCHEME or not parts.hostname:
        raise ValueError(f"{url}: not a URL like {_SCHEME}://host:port")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    more: dict[str, Any] = {"dev_name": query["device"]} if "device" in query else {}
    return ClientConfig(
        host_addr=parts.hostname,
        service_port=parts.port or 22345,
        connection_type=query.get("type", TYPE_AUTO),
        link_type=query.get("link", LINK_ETHERNET),
        request_timeout=float(query.get("timeout", "30")),
        **more,
    )


class InfiniStoreConnectorAdapter(ConnectorAdapter):
    """Finds the server: in the URL, or under the plugin's name in the configuration."""

    def __init__(self) -> None:
        super().__init__(f"{_SCHEME}://")

    def can_parse(self, url: str) -> bool:
        if url.startswith("plugin://"):
            return url[len("plugin://") :].split("/")[0].split(".")[0] == _SCHEME
        return url.startswith(self.schema)

    def create_connector(self, context: Any) -> InfiniStoreConnector:
        url = context.url
        if url.startswith("plugin://"):
            name = getattr(context, "plugin_name", None) or url[len("plugin://") :]
            url = (context.config.extra_config or {}).get(f"remote_storage_plugin.{name}.url")
            if url is None:
                raise ValueError(f"remote_storage_plugin.{name}.url is missing in extra_config")
        return InfiniStoreConnector(
            _client_config(url), context.loop, context.local_cpu_backend, context.config, context.metadata
        )


def _arena(local_cpu_backend: Any) -> Any:
    """The tensor that all of LMCache's chunks lie in, where this release shows it."""
    allocator = getattr(local_cpu_backend, "memory_allocator", None)
    for holder in (getattr(allocator, "pin_allocator", None), allocator):
        tensor = getattr(holder, "buffer", None)
        if hasattr(tensor, "data_ptr"):
            return tensor
    return None


def _shapes(obj: Any) -> Any:
    """A chunk has one shape and type in older releases of LMCache, a list of each in newer ones."""
    return obj.get_shapes() if hasattr(obj, "get_shapes") else obj.get_shape()


def _dtypes(obj: Any) -> Any:
    return obj.get_dtypes() if hasattr(obj, "get_dtypes") else obj.get_dtype()


class InfiniStoreConnector(RemoteConnector):
    """See the module's text."""

    def __init__(
        self,
        client_config: ClientConfig,
        loop: asyncio.AbstractEventLoop,
        local_cpu_backend: Any,
        config: Any = None,
        metadata: Any = None,
    ) -> None:
        if "config" in inspect.signature(RemoteConnector.__init__).parameters:
            super().__init__(config, metadata)
        else:
            super().__init__()
        self.loop = loop
        self.local_cpu_backend = local_cpu_backend
        self.connection = InfinityConnection(client_config)
        self.connection.connect()
        self._register(_arena(local_cpu_backend))

    def _register(self, arena: Any) -> None:
        if arena is None:
            if self.connection.rdma_connected:
                Logger.warn("LMCache's memory is not to be found: its chunks go over TCP")
            return
        try:
            self.connection.register_mr(arena)
        except InfiniStoreException as error:
            Logger.warn(f"LMCache's chunks go over TCP: {error}")

    # ---- presence ---------------------------------------------------------------------------------------

    async def exists(self, key: Any) -> bool:
        return await self._count_prefix([key]) == 1

    def exists_sync(self, key: Any) -> bool:
        return self._count_prefix_sync([key]) == 1

    def support_batched_contains(self) -> bool:
        return True

    def batched_contains(self, keys: list[Any], *arguments: Any, **more: Any) -> Any:
        """How many leading keys are there; a list of bools in releases that want one."""
        matched = self._count_prefix_sync(keys)
        if "stop_after_first_not_exits" in inspect.signature(RemoteConnector.batched_contains).parameters:
            return [i < matched for i in range(len(keys))]
        return matched

    def support_batched_async_contains(self) -> bool:
        return True

    async def batched_async_contains(self, lookup_id: str, keys: list[Any], pin: bool = False) -> int:
        return await self._count_prefix(keys)

    async def _count_prefix(self, keys: list[Any]) -> int:
        try:
            return await self.connection.match_prefix_async([key.to_string() for key in keys])
        except InfiniStoreException as error:
            Logger.warn(f"lookup: {error}")
            return 0

    def _count_prefix_sync(self, keys: list[Any]) -> int:
        try:
            return self.connection.match_prefix([key.to_string() for key in keys])
        except InfiniStoreException as error:
            Logger.warn(f"lookup: {error}")
            return 0

    # ---- put --------------------------------------------------------------------------------------------

    async def put(self, key: Any, memory_obj: Any) -> None:
        await self.batched_put([key], [memory_obj])

    def support_batched_put(self) -> bool:
        return True

    async def batched_put(self, keys: list[Any], memory_objs: list[Any]) -> None:
        names = [key.to_string() for key in keys]
        values = [obj.byte_array for obj in memory_objs]
        try:
            if self.save_chunk_meta:
                # A request of their own: they lie in no registered memory, and would take the chunks along to TCP.
                metas = [self._meta(obj) for obj in memory_objs]
                await self.connection.put_batch_async([name + _META for name in names], metas)
            statuses = await self.connection.put_batch_async(names, values)
            failed = [status.name for status in statuses if status != 0]
            if failed:
                Logger.warn(f"put: {len(failed)} of {len(keys)} chunks were not stored: {failed[0]}")
        except InfiniStoreException as error:
            Logger.warn(f"put: {error}")

    @staticmethod
    def _meta(obj: Any) -> bytes:
        length = len(obj.byte_array)
        return bytes(RemoteMetadata(length, _shapes(obj), _dtypes(obj), obj.get_memory_format()).serialize())

    # ---- get --------------------------------------------------------------------------------------------

    async def get(self, key: Any) -> Any:
        return (await self.batched_get([key]))[0]

    def support_batched_get(self) -> bool:
        return True

    async def batched_get(self, keys: list[Any]) -> list[Any]:
        """An object for each key, None for what is not there."""
        names = [key.to_string() for key in keys]
        objects: list[Any] = [None] * len(keys)
        try:
            await self._allocate(names, objects)
            wanted = [i for i, obj in enumerate(objects) if obj is not None]
            buffers = [objects[i].byte_array for i in wanted]
            results = await self.connection.get_batch_into_async([names[i] for i in wanted], buffers)
            for i, buffer, result in zip(wanted, buffers, results):
                objects[i] = self._received(objects[i], len(buffer), result)
        except BaseException as error:
            for obj in objects:
                if obj is not None:
                    obj.ref_count_down()
            if not isinstance(error, Exception):  # it was cancelled
                raise
            Logger.warn(f"get: {error}")
            return [None] * len(keys)
        return objects

    def support_batched_get_non_blocking(self) -> bool:
        return True

    async def batched_get_non_blocking(self, lookup_id: str, keys: list[Any]) -> list[Any]:
        """The leading objects: what comes after the first that is missing is given back."""
        objects = await self.batched_get(keys)
        leading = objects.index(None) if None in objects else len(objects)
        for obj in objects[leading:]:
            if obj is not None:
                obj.ref_count_down()
        return objects[:leading]

    async def _allocate(self, names: list[str], objects: list[Any]) -> None:
        """LMCache's memory for each chunk into `objects`; it stays None where there is no chunk or no memory."""
        allocate = self.local_cpu_backend.allocate
        if not self.save_chunk_meta:
            shapes = self.meta_shapes if hasattr(self, "meta_shapes") else self.meta_shape
            dtypes = self.meta_dtypes if hasattr(self, "meta_dtypes") else self.meta_dtype
            for i in range(len(names)):
                objects[i] = allocate(shapes, dtypes, self.meta_fmt)
            return
        buffers = [bytearray(_META_BYTES_MAX) for _ in names]
        results = await self.connection.get_batch_into_async([name + _META for name in names], buffers)
        for i, (buffer, result) in enumerate(zip(buffers, results)):
            meta = self._parsed(memoryview(buffer)[: result.size]) if result.ok else None
            if meta is not None:
                shapes = meta.shapes if hasattr(meta, "shapes") else meta.shape
                dtypes = meta.dtypes if hasattr(meta, "dtypes") else meta.dtype
                objects[i] = allocate(shapes, dtypes, meta.fmt)

    @staticmethod
    def _parsed(packed: memoryview) -> Any:
        """None: it is no metadata of this release."""
        try:
            return RemoteMetadata.deserialize(packed)
        except Exception as error:
            Logger.warn(f"get: a chunk's metadata cannot be read: {error}")
            return None

    def _received(self, obj: Any, room: int, result: Any) -> Any:
        if result.ok and result.size == room:
            return obj
        if result.ok and not self.save_chunk_meta:
            return self.reshape_partial_chunk(obj, result.size)
        obj.ref_count_down()
        return None

    # ---- the rest -----------------------------------------------------------------------------------------

    def remove_sync(self, key: Any) -> bool:
        name = key.to_string()
        try:
            return self.connection.delete_keys([name, name + _META]) > 0
        except InfiniStoreException as error:
            Logger.warn(f"remove: {error}")
            return False

    async def list(self) -> list[str]:
        """The server does not tell its keys."""
        return []

    def support_ping(self) -> bool:
        return True

    async def ping(self) -> int:
        """0: it answers."""
        try:
            await asyncio.get_running_loop().run_in_executor(None, self.connection.ping)
            return 0
        except InfiniStoreException as error:
            return int(error.status or 1)

    async def close(self) -> None:
        self.connection.close()
