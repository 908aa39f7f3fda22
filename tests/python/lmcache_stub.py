"""Stands in for LMCache: the names, signatures and promises that the plugin meets there, as its public repository has
them (lmcache/v1/distributed/l2_adapters, lmcache/v1/storage_backend/connector, lmcache/v1/protocol.py), and no more.

install("new") is release 0.4 and later: several shapes a chunk, plugin:// URLs. install("old") is what came before."""

from __future__ import annotations

import abc
import struct
import sys
import types
from collections import Counter
from dataclasses import dataclass
from typing import Any


class Bitmap:
    def __init__(self, size: int) -> None:
        self.bits = [False] * size

    def set(self, index: int) -> None:
        self.bits[index] = True


class L2StoreResult(int):
    """Bytes, or -1."""

    def __new__(cls, success: bool, bytes_transferred: int) -> L2StoreResult:
        return super().__new__(cls, bytes_transferred if success else -1)

    def is_successful(self) -> bool:
        return self >= 0


class L2AdapterConfigBase(abc.ABC):
    @classmethod
    @abc.abstractmethod
    def from_dict(cls, d: dict) -> Any: ...

    @classmethod
    @abc.abstractmethod
    def help(cls) -> str: ...


class L2AdapterInterface(abc.ABC):
    def __init__(self, max_capacity_bytes: int = 0) -> None:
        self.capacity, self.events = max_capacity_bytes, []

    @property
    def supports_global_eviction(self) -> bool:
        return self.capacity > 0

    def _notify_keys_stored(self, keys: list, sizes: list) -> None:
        self.events.append(("stored", keys, sizes))

    def _notify_keys_accessed(self, keys: list) -> None:
        self.events.append(("accessed", keys))

    def _notify_keys_deleted(self, keys: list, sizes: list) -> None:
        self.events.append(("deleted", keys, sizes))

    def delete(self, keys: list) -> None: ...

    def report_status(self) -> dict:
        return {}


def _abstract(*names: str) -> dict:
    return {name: abc.abstractmethod(lambda self, *arguments: None) for name in names}


L2AdapterInterface = abc.ABCMeta(
    "L2AdapterInterface",
    (L2AdapterInterface,),
    _abstract(
        "get_store_event_fd",
        "get_lookup_and_lock_event_fd",
        "get_load_event_fd",
        "submit_store_task",
        "pop_completed_store_tasks",
        "submit_lookup_and_lock_task",
        "query_lookup_and_lock_result",
        "submit_unlock",
        "submit_load_task",
        "query_load_result",
        "close",
    ),
)


@dataclass(frozen=True)
class ObjectKey:
    chunk_hash: bytes
    model_name: str
    kv_rank: int
    object_group_id: int = 0
    cache_salt: str = ""


@dataclass(frozen=True)
class CacheEngineKey:
    text: str

    def to_string(self) -> str:
        return self.text


class Chunk:
    """A memory object: bytes in an arena, with a shape."""

    def __init__(self, view: memoryview, shape: tuple, references: Counter) -> None:
        self.byte_array, self.shape, self.references = view, shape, references
        references["held"] += 1

    def get_size(self) -> int:
        return len(self.byte_array)

    def get_shape(self) -> tuple:
        return self.shape

    def get_dtype(self) -> int:
        return 1

    def get_memory_format(self) -> int:
        return 2

    def ref_count_down(self) -> None:
        self.references["held"] -= 1


class NewChunk(Chunk):
    def get_shapes(self) -> list:
        return [self.shape]

    def get_dtypes(self) -> list:
        return [1]


class Arena:
    """As LMCache's allocators show their tensor."""

    def __init__(self, size: int) -> None:
        self.memory = bytearray(size)

    def data_ptr(self) -> int:
        import ctypes

        return ctypes.addressof(ctypes.c_char.from_buffer(self.memory))

    def numel(self) -> int:
        return len(self.memory)

    def element_size(self) -> int:
        return 1

    def is_contiguous(self) -> bool:
        return True


class LocalCPUBackend:
    def __init__(self, flavour: str, size: int = 1 << 20) -> None:
        self.chunk = NewChunk if flavour == "new" else Chunk
        self.memory_allocator = types.SimpleNamespace(pin_allocator=types.SimpleNamespace(buffer=Arena(size)))
        self.references: Counter = Counter()
        self.used = 0
        self.full = False

    def allocate(self, shapes: Any, dtypes: Any, fmt: Any) -> Any:
        if self.full:
            return None
        shape = shapes[0] if self.chunk is NewChunk else shapes
        size = shape[0] * shape[1] * shape[2] * shape[3]
        start, self.used = self.used, self.used + size
        view = memoryview(self.memory_allocator.pin_allocator.buffer.memory)[start : start + size]
        return self.chunk(view, tuple(shape), self.references)


def _metadata_class(flavour: str) -> type:
    class Common:
        FORMAT = "7i"

        def __init__(self, length: int, shapes: Any, dtypes: Any, fmt: Any) -> None:
            if flavour == "new":
                self.length, self.shapes, self.dtypes, self.fmt = length, shapes, dtypes, fmt
            else:
                self.length, self.shape, self.dtype, self.fmt = length, shapes, dtypes, fmt

        def serialize(self) -> bytes:
            shape, dtype = (self.shapes[0], self.dtypes[0]) if flavour == "new" else (self.shape, self.dtype)
            return struct.pack(self.FORMAT, self.length, self.fmt, dtype, *shape)

        @classmethod
        def deserialize(cls, data: Any) -> Any:
            length, fmt, dtype, *shape = struct.unpack_from(cls.FORMAT, data)
            return cls(length, [shape], [dtype], fmt) if flavour == "new" else cls(length, shape, dtype, fmt)

    return Common


def _connector_class(flavour: str) -> type:
    class Old(abc.ABC):
        save_chunk_meta = True
        meta_shape, meta_dtype, meta_fmt = (1, 1, 10, 16), 1, 2

        def reshape_partial_chunk(self, obj: Any, bytes_read: int) -> Any:
            if bytes_read % 16 != 0:
                raise ValueError("no whole token")
            obj.byte_array = obj.byte_array[:bytes_read]
            return obj

        def batched_contains(self, keys: list, stop_after_first_not_exits: bool = True) -> list: ...

    class New(Old):
        def __init__(self, config: Any, metadata: Any) -> None:
            self.save_chunk_meta = config.extra_config.get("save_chunk_meta", True)
            self.meta_shapes, self.meta_dtypes = [(1, 1, 10, 16)], [1]

        def batched_contains(self, keys: list) -> int: ...

    base = New if flavour == "new" else Old
    return abc.ABCMeta("RemoteConnector", (base,), _abstract("exists", "exists_sync", "get", "put", "list", "close"))


class ConnectorAdapter(abc.ABC):
    def __init__(self, schema: str = "") -> None:
        self.schema = schema

    @abc.abstractmethod
    def create_connector(self, context: Any) -> Any: ...


def install(flavour: str) -> None:
    """Makes `import lmcache...` find this."""
    contents: dict[str, dict] = {
        "lmcache": {},
        "lmcache.native_storage_ops": {"Bitmap": Bitmap},
        "lmcache.v1": {},
        "lmcache.v1.protocol": {"RemoteMetadata": _metadata_class(flavour)},
        "lmcache.v1.distributed": {},
        "lmcache.v1.distributed.internal_api": {"L2StoreResult": L2StoreResult},
        "lmcache.v1.distributed.l2_adapters": {},
        "lmcache.v1.distributed.l2_adapters.base": {"L2AdapterInterface": L2AdapterInterface},
        "lmcache.v1.distributed.l2_adapters.config": {"L2AdapterConfigBase": L2AdapterConfigBase},
        "lmcache.v1.storage_backend": {},
        "lmcache.v1.storage_backend.connector": {"ConnectorAdapter": ConnectorAdapter},
        "lmcache.v1.storage_backend.connector.base_connector": {"RemoteConnector": _connector_class(flavour)},
    }
    uninstall()
    for name, attributes in contents.items():
        module = types.ModuleType(name)
        module.__path__ = []
        vars(module).update(attributes)
        sys.modules[name] = module


def uninstall() -> None:
    for name in list(sys.modules):
        if name.split(".")[0] == "lmcache" or name.startswith(("infinistore.lmcache", "infinistore._lmcache")):
            del sys.modules[name]
