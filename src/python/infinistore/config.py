"""What a connection and a server are told. All attributes may be assigned after construction."""

from __future__ import annotations

import os
from typing import Any

from .errors import InfiniStoreException

__all__ = [
    "TYPE_RDMA",
    "TYPE_TCP",
    "TYPE_AUTO",
    "LINK_ETHERNET",
    "LINK_IB",
    "ClientConfig",
    "ServerConfig",
]

TYPE_RDMA = "RDMA"
TYPE_TCP = "TCP"
#: RDMA where both sides have a device, else TCP, and a warning says so.
TYPE_AUTO = "AUTO"
LINK_ETHERNET = "Ethernet"
LINK_IB = "IB"

_LOG_LEVELS = ("error", "debug", "info", "warning")
_LINKS = (LINK_IB, LINK_ETHERNET)
#: The original's default for dev_name; here it stands for any device.
ANY_DEVICE = "mlx5_1"


def _demand(holds: bool, message: str) -> None:
    if not holds:
        raise InfiniStoreException(message)


class ClientConfig:
    """Configuration of a connection.

    Attributes:
        connection_type (str): TYPE_RDMA, TYPE_TCP or TYPE_AUTO. For connecting, the environment's
            INFINISTORE_CONNECTION_TYPE goes before it, so that code which asks for RDMA runs on a machine
            without a device, unchanged.
        host_addr (str): Host name, IPv4 address or IPv6 literal.
        service_port (int): The server's service port.
        dev_name (str): RDMA device; the default takes any.
        ib_port (int): Port of the device (default 1).
        link_type (str): LINK_IB or LINK_ETHERNET (default "IB").
        hint_gid_index (int): Which GID of the port; -1: choose.
        log_level (str): error, warning, info or debug (default "warning"); the environment's
            INFINISTORE_LOG_LEVEL goes before it.
        connect_timeout (float): Seconds for connecting (default 5).
        request_timeout (float): Seconds for each call (default 30).
    """

    def __init__(self, **kwargs: Any) -> None:
        self.connection_type: str | None = kwargs.get("connection_type", None)
        self.host_addr: str | None = kwargs.get("host_addr", None)
        self.dev_name: str = kwargs.get("dev_name", ANY_DEVICE)
        self.ib_port: int = kwargs.get("ib_port", 1)
        self.link_type: str = kwargs.get("link_type", LINK_IB)
        self.service_port: int | None = kwargs.get("service_port", None)
        self.log_level: str = os.environ.get("INFINISTORE_LOG_LEVEL", kwargs.get("log_level", "warning"))
        self.hint_gid_index: int = kwargs.get("hint_gid_index", -1)
        self.connect_timeout: float = kwargs.get("connect_timeout", 5.0)
        self.request_timeout: float = kwargs.get("request_timeout", 30.0)

    def effective_connection_type(self) -> str:
        """What to connect with, the environment considered."""
        return os.environ.get("INFINISTORE_CONNECTION_TYPE") or str(self.connection_type)

    def __repr__(self) -> str:
        return (
            f"ClientConfig(service_port={self.service_port}, "
            f"log_level='{self.log_level}', host_addr='{self.host_addr}', "
            f"connection_type='{self.connection_type}', "
            f"dev_name='{self.dev_name}', ib_port={self.ib_port}, link_type='{self.link_type}', "
            f"hint_gid_index={self.hint_gid_index})"
        )

    def verify(self) -> None:
        """Raises when an attribute makes no sense."""
        for connection_type in (self.connection_type, self.effective_connection_type()):
            _demand(connection_type in (TYPE_RDMA, TYPE_TCP, TYPE_AUTO), "Invalid connection type")
        _demand(bool(self.host_addr), "Host address is empty")
        _demand(bool(self.service_port), "Service port is 0")
        _demand(self.log_level in _LOG_LEVELS, "log level should be error, debug, info or warning")
        _demand(self.ib_port >= 1, "ib port of device should be greater than 0")
        _demand(
            self.connection_type == TYPE_TCP or self.link_type in _LINKS,
            "link type should be IB or Ethernet for RDMA connection",
        )
        _demand(
            self.connect_timeout > 0 and self.request_timeout > 0,
            "connect_timeout and request_timeout should be greater than 0",
        )


class ServerConfig:
    """Configuration of a server: the daemon's options under the original's names.

    Attributes:
        manage_port (int): Port for HTTP. Defaults to 0.
        service_port (int): Port for clients. Defaults to 0.
        log_level (str): Defaults to "warning".
        dev_name (str): RDMA device; the default takes any.
        ib_port (int): Port of the device. Defaults to 1.
        link_type (str): LINK_IB or LINK_ETHERNET. Defaults to "IB".
        prealloc_size (int): Size of the pool in GB, or with a suffix ("512M"). Defaults to 16.
        minimal_allocate_size (int): Smallest block in KB, or with a suffix ("4K"). Defaults to 64.
        auto_increase (bool): Let the pool grow, 10 GB each time. Defaults to False.
        evict_min_threshold (float): Defaults to 0.6.
        evict_max_threshold (float): Defaults to 0.8.
        evict_interval (float): Seconds. Defaults to 5.
        hint_gid_index (int): Which GID of the port; -1: choose.
        host (str): Where it listens. Defaults to "0.0.0.0".
        enable_periodic_evict (bool): Defaults to False.
    """

    def __init__(self, **kwargs: Any) -> None:
        self.manage_port: int = kwargs.get("manage_port", 0)
        self.service_port: int = kwargs.get("service_port", 0)
        self.log_level: str = kwargs.get("log_level", "warning")
        self.dev_name: str = kwargs.get("dev_name", ANY_DEVICE)
        self.ib_port: int = kwargs.get("ib_port", 1)
        self.link_type: str = kwargs.get("link_type", LINK_IB)
        self.prealloc_size: int | str = kwargs.get("prealloc_size", 16)
        self.minimal_allocate_size: int | str = kwargs.get("minimal_allocate_size", 64)
        self.auto_increase: bool = kwargs.get("auto_increase", False)
        self.evict_min_threshold: float = kwargs.get("evict_min_threshold", 0.6)
        self.evict_max_threshold: float = kwargs.get("evict_max_threshold", 0.8)
        self.evict_interval: float = kwargs.get("evict_interval", 5)
        self.hint_gid_index: int = kwargs.get("hint_gid_index", -1)
        self.host: str = kwargs.get("host", "0.0.0.0")
        self.enable_periodic_evict: bool = kwargs.get("enable_periodic_evict", False)

    def __repr__(self) -> str:
        return (
            f"ServerConfig: service_port={self.service_port}, manage_port={self.manage_port}, "
            f"log_level='{self.log_level}', "
            f"dev_name='{self.dev_name}', ib_port={self.ib_port}, link_type='{self.link_type}', "
            f"prealloc_size={self.prealloc_size}, minimal_allocate_size={self.minimal_allocate_size}, "
            f"auto_increase={self.auto_increase}, evict_min_threshold={self.evict_min_threshold}, "
            f"evict_max_threshold={self.evict_max_threshold}, evict_interval={self.evict_interval}, "
            f"hint_gid_index={self.hint_gid_index}"
        )

    def verify(self) -> None:
        """Raises when an attribute makes no sense."""
        _demand(self.service_port != 0, "Service port is 0")
        _demand(self.manage_port != 0, "Manage port is 0")
        _demand(self.log_level in _LOG_LEVELS, "log level should be error, debug, info or warning")
        _demand(self.ib_port >= 1, "ib port of device should be greater than 0")
        _demand(self.link_type in _LINKS, "link type should be IB or Ethernet")
        if not isinstance(self.minimal_allocate_size, str):
            _demand(self.minimal_allocate_size >= 16, "minimal allocate size should be greater than 16")
