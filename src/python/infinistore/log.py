"""The package's log: lines on standard error, from a level on that the connection's config sets."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

__all__ = ["Logger"]

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class _Handler(logging.Handler):
    """Writes to what standard error is now, not what it was at the import."""

    def emit(self, record: logging.LogRecord) -> None:
        stream: TextIO | None = sys.stderr
        if stream is not None:
            stream.write(self.format(record) + "\n")


def _make_logger() -> logging.Logger:
    logger = logging.getLogger("infinistore")
    if not logger.handlers:
        handler = _Handler()
        handler.setFormatter(logging.Formatter("[%(asctime)s] [%(name)s] [%(levelname)s] %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(_LEVELS.get(os.environ.get("INFINISTORE_LOG_LEVEL", "warning"), logging.WARNING))
    return logger


_logger = _make_logger()


class Logger:
    """Static methods that log anything that has a ``str()``. It is ``logging.getLogger("infinistore")`` underneath."""

    @staticmethod
    def info(msg: object) -> None:
        _logger.info("%s", msg)

    @staticmethod
    def debug(msg: object) -> None:
        _logger.debug("%s", msg)

    @staticmethod
    def error(msg: object) -> None:
        _logger.error("%s", msg)

    @staticmethod
    def warn(msg: object) -> None:
        _logger.warning("%s", msg)

    @staticmethod
    def set_log_level(level: str) -> None:
        """error, warning, info or debug; anything else changes nothing."""
        if level in _LEVELS:
            _logger.setLevel(_LEVELS[level])
