"""InfiniStore: a key-value store for the KV cache of LLM inference.

    import infinistore

    config = infinistore.ClientConfig(host_addr="127.0.0.1", service_port=22345,
                                      connection_type=infinistore.TYPE_AUTO)
    with infinistore.InfinityConnection(config) as connection:
        connection.put_batch(["block/0"], [b"keys and values"])
        print(bytes(connection.tcp_read_cache("block/0")))
"""

from __future__ import annotations

from ._infinistore import VERSION as __version__
from .buffers import address_of
from .config import LINK_ETHERNET, LINK_IB, TYPE_AUTO, TYPE_RDMA, TYPE_TCP, ClientConfig, ServerConfig
from .daemon import evict_cache, get_kvmap_len, purge_kv_map, register_server
from .errors import InfiniStoreException, InfiniStoreKeyNotFound, Status
from .lib import GetResult, InfinityConnection
from .log import Logger

__all__ = [
    "InfinityConnection",
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
    "GetResult",
    "evict_cache",
    "address_of",
    "__version__",
]
