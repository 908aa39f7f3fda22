"""pip install, in an empty environment, without a network: and then what InfiniStore's README says."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from conftest import wait_for

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    directory = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MAKEFLAGS", "MAKELEVEL")}
    command = [directory / "bin/pip", "install", "--no-index", "--disable-pip-version-check", ROOT / "src/python"]
    done = subprocess.run(command, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory / "bin", clean


def test_pip_install__then_infinistore_and_selftest__works(environment, tmp_path):
    programs, clean = environment
    ports = tmp_path / "ports"
    options = ["--host=127.0.0.1", "--service-port=0", "--manage-port=0", "--prealloc-size=64M", "--log-level=error"]
    process = subprocess.Popen([programs / "infinistore", *options, f"--port-file={ports}"], env=clean)
    try:
        wait_for(lambda: ports.exists() or process.poll() is not None)
        places = dict(line.split() for line in ports.read_text().splitlines())
        with urllib.request.urlopen(f"http://{places['manage']}/selftest", timeout=10) as answer:
            assert answer.status == 200 and b'"ok"' in answer.read()
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_pip_install__imports_without_numpy_and_has_its_files(environment, tmp_path):
    programs, clean = environment
    script = """
import importlib.metadata, importlib.resources, infinistore, sys
assert "numpy" not in sys.modules
files = {path.name for path in importlib.resources.files("infinistore").iterdir()}
assert {"py.typed", "_infinistore.pyi", "libinfinistore.so.0", "bin"} <= files, files
print(infinistore.__version__ == importlib.metadata.version("infinistore"))
"""
    done = subprocess.run(
        [programs / "python", "-c", script], env=clean, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"
