"""The server: `python -m infinistore.server`, or `infinistore` where the package is installed.

This is the C daemon, with the same options: it takes the place of the Python process. `--help` lists them."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from .daemon import daemon_path
from .errors import InfiniStoreException

__all__ = ["main"]


def main() -> NoReturn:
    """Becomes the daemon."""
    try:
        path = daemon_path()
    except InfiniStoreException as error:
        sys.exit(f"infinistore: {error}")
    os.execv(path, ["infinistore", *sys.argv[1:]])


if __name__ == "__main__":
    main()
