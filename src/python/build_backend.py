"""Makes the wheel: `make` builds the package's directory, and this packs it. PEP 517, with the standard library alone."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any, Iterator

ROOT = Path(__file__).resolve().parents[2]
NAME = "infinistore"
BUILT = {"_infinistore.abi3.so", "libinfinistore.so.0", "infinistore"}
# A zip archive wants a date; a fixed one makes the same wheel of the same files.
DATE = (2025, 1, 1, 0, 0, 0)


# The module of 3.11 and later is one for all; what an older interpreter makes is kept apart from it.
OLD = [] if sys.version_info >= (3, 11) else [f"B=build/python{sys.version_info[0]}.{sys.version_info[1]}"]


def _make(*targets: str) -> str:
    # Of a make that may stand above this process, neither its job server nor its directories concern this one.
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    command = ["make", "-s", "--no-print-directory", f"-j{os.cpu_count()}", f"PYTHON={sys.executable}", *OLD, *targets]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def _version() -> str:
    for line in (ROOT / "include/infinistore/infinistore.h").read_text().splitlines():
        if line.startswith("#define IST_VERSION"):
            return line.split('"')[1]
    raise RuntimeError("no version in infinistore.h")


def _tag() -> str:
    """The module keeps to the stable ABI of 3.11; an older interpreter has one for itself."""
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    version = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    return f"cp311-abi3-{platform}" if sys.version_info >= (3, 11) else f"{version}-{version}-{platform}"


def _metadata() -> dict[str, str]:
    readme = (Path(__file__).parent / "README.md").read_text()
    return {
        "METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {_version()}\n"
        "Summary: A key-value store for the KV cache of LLM inference: client and server\n"
        "License: Apache-2.0\nRequires-Python: >=3.10\nDescription-Content-Type: text/markdown\n\n" + readme,
        "WHEEL": f"Wheel-Version: 1.0\nGenerator: {NAME}\nRoot-Is-Purelib: false\nTag: {_tag()}\n",
        "entry_points.txt": f"[console_scripts]\n{NAME} = {NAME}.server:main\n",
        "LICENSE": (ROOT / "LICENSE").read_text(),
    }


def _files(package: Path) -> Iterator[tuple[str, bytes, int]]:
    """(name in the wheel, contents, mode). What is left of a source that is no more stays behind."""
    sources = {path.name for path in (Path(__file__).parent / NAME).iterdir()}
    for path in sorted(package.rglob("*")):
        if path.is_file() and (path.name in sources | BUILT):
            mode = 0o755 if os.access(path, os.X_OK) else 0o644
            yield f"{NAME}/{path.relative_to(package)}", path.read_bytes(), mode
    for name, text in _metadata().items():
        yield f"{NAME}-{_version()}.dist-info/{name}", text.encode(), 0o644


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    return []


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: Any = None) -> str:
    _make("python-package")
    package = ROOT / _make("print-package").strip()
    name = f"{NAME}-{_version()}-{_tag()}.whl"
    record = []
    with zipfile.ZipFile(Path(wheel_directory) / name, "w", zipfile.ZIP_DEFLATED) as wheel:

        def add(path: str, contents: bytes, mode: int) -> None:
            entry = zipfile.ZipInfo(path, DATE)
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(entry, contents)

        for path, contents, mode in _files(package):
            add(path, contents, mode)
            digest = base64.urlsafe_b64encode(hashlib.sha256(contents).digest()).decode().rstrip("=")
            record.append(f"{path},sha256={digest},{len(contents)}\n")
        path = f"{NAME}-{_version()}.dist-info/RECORD"
        add(path, ("".join(record) + f"{path},,\n").encode(), 0o644)
    return name


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    raise RuntimeError("the sources are the whole repository; build a wheel: pip wheel ./src/python")
