"""What goes wrong, and how it is told."""

from __future__ import annotations

import enum

from . import _infinistore

__all__ = ["InfiniStoreException", "InfiniStoreKeyNotFound", "Status"]


class Status(enum.IntEnum):
    """The answer to a request, or to one of its keys."""

    OK = 0
    AGAIN = 1
    NOT_FOUND = 10
    EXISTS = 11
    NO_SPACE = 12
    TOO_BIG = 13
    TOO_SMALL = 14
    INVALID = 15
    NO_MEMORY = 16
    PROTOCOL = 30
    PEER = 31
    TIMEOUT = 32
    DEVICE = 50
    CONFIG = 51

    @property
    def text(self) -> str:
        """One plain sentence."""
        return _infinistore.status_text(int(self))

    @property
    def ends_request(self) -> bool:
        """No key of the request has an answer of its own: the connection failed, time is up, or too many are in flight."""
        return self >= Status.PROTOCOL or self is Status.AGAIN


class InfiniStoreException(Exception):
    """Whatever fails raises this, or a subclass. ``status`` tells why where the store said so."""

    def __init__(self, message: str = "", status: Status | None = None) -> None:
        super().__init__(message)
        self.status = status


class InfiniStoreKeyNotFound(InfiniStoreException):
    """A key is not there. The others of its request were delivered."""

    def __init__(self, message: str = "some keys not found", status: Status | None = Status.NOT_FOUND) -> None:
        super().__init__(message, status)


def failed(what: str, status: int) -> InfiniStoreException:
    """The exception for a request that ended with `status`."""
    known = Status(status)
    kind = InfiniStoreKeyNotFound if known is Status.NOT_FOUND else InfiniStoreException
    return kind(f"{what}: {known.text} ({known.name})", known)
