"""InfiniStore as storage of LMCache, in both of its modes. Nothing of LMCache is changed; its configuration names these classes.

Multi-process mode, an L2 adapter:

    --l2-adapter '{"type": "plugin", "module_path": "infinistore.lmcache", "class_name": "InfiniStoreL2Adapter",
                   "adapter_params": {"host": "10.0.0.1", "port": 22345}}'

Classic mode, a remote storage plugin ("ist", as "infinistore" is the name of LMCache's own connector, which also works
with this package):

    remote_storage_plugins: ["ist"]
    extra_config:
      remote_storage_plugin.ist.module_path: infinistore.lmcache
      remote_storage_plugin.ist.class_name: InfiniStoreConnectorAdapter
      remote_storage_plugin.ist.url: ist://10.0.0.1:22345

Both use RDMA where there is a device on both sides, and TCP otherwise; "connection_type" decides otherwise."""

from __future__ import annotations

from typing import Any

_HOMES = {
    "InfiniStoreL2Adapter": "_lmcache_l2",
    "InfiniStoreL2AdapterConfig": "_lmcache_l2",
    "InfiniStoreConnectorAdapter": "_lmcache_remote",
    "InfiniStoreConnector": "_lmcache_remote",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Each half is imported when it is wanted: a release of LMCache that lacks one mode has the other."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"infinistore.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
