"""A client of the C library, as the connection uses it: from options to a line, and a channel for each event loop."""

from __future__ import annotations

import asyncio
import os
import threading

from . import _infinistore
from .channel import Channel
from .config import ANY_DEVICE, LINK_ETHERNET, TYPE_AUTO, TYPE_RDMA, TYPE_TCP, ClientConfig
from .errors import InfiniStoreException, Status
from .log import Logger

__all__ = ["Line", "connect", "NS_PER_SEC"]

NS_PER_SEC = 1_000_000_000

_TRANSPORTS = {
    TYPE_TCP: _infinistore.TRANSPORT_TCP,
    TYPE_RDMA: _infinistore.TRANSPORT_RDMA,
    TYPE_AUTO: _infinistore.TRANSPORT_AUTO,
}


class Line:
    """A client of the C library with a channel for each event loop that uses it. Any thread may use it."""

    def __init__(self, client: _infinistore.Client) -> None:
        self.client = client
        self._channels: dict[asyncio.AbstractEventLoop, Channel] = {}
        self._lock = threading.Lock()

    def channel(self) -> Channel:
        """That of the running loop."""
        loop = asyncio.get_running_loop()
        channel = self._channels.get(loop)
        if channel is not None:
            return channel
        with self._lock:
            for other, old in list(self._channels.items()):
                if old.discard_if_loop_is_closed():
                    del self._channels[other]
            try:
                channel = self._channels[loop] = Channel(self.client, loop)
            except ConnectionError:
                raise InfiniStoreException("not connected", Status.PEER) from None
        return channel

    def close(self) -> None:
        """Ends what is in flight."""
        with self._lock:
            self.client.close()
            channels = list(self._channels.values())
            self._channels = {}
        for channel in channels:
            channel.retire()


def _endpoint(config: ClientConfig) -> str:
    host = str(config.host_addr)
    if host.startswith("unix:"):
        return host
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{host}:{config.service_port}"


def _device(config: ClientConfig, connection_type: str) -> str | None:
    """As the original: the device of that name where there is one, else any."""
    if os.path.exists(f"/sys/class/infiniband/{config.dev_name}"):
        return config.dev_name
    if config.dev_name != ANY_DEVICE and connection_type != TYPE_TCP:
        Logger.warn(f"no RDMA device {config.dev_name} here: any will do")
    return None


def connect(config: ClientConfig, connection_type: str, timeout_ns: int) -> Line:
    device = _device(config, connection_type)
    # A named device has the link that it has; "IB" is the default of who did not think about it.
    any_link = device is not None or config.link_type != LINK_ETHERNET
    try:
        client = _infinistore.Client(
            _endpoint(config),
            timeout_ns,
            int(config.request_timeout * NS_PER_SEC),
            _TRANSPORTS[connection_type],
            device,
            config.ib_port,
            _infinistore.LINK_ANY if any_link else _infinistore.LINK_ETHERNET,
            config.hint_gid_index,
            Logger.warn,
        )
    except ConnectionError as error:
        status = Status(error.errno)
        what = "Failed to setup RDMA connection" if status is Status.DEVICE else "Failed to initialize remote connection"
        raise InfiniStoreException(f"{what}: {error.strerror}", status) from error
    return Line(client)
