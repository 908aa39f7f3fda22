"""The README's Python example is the file that is run here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import tcp_only

HERE = Path(__file__).resolve().parent


@tcp_only
def test_example__is_what_the_readme_shows_and_runs(server):
    source = (HERE / "example.py").read_text()
    shown = source.split('"""\n\n', 1)[1]
    assert shown in (HERE.parents[1] / "README.md").read_text()
    done = subprocess.run(
        [sys.executable, HERE / "example.py", str(server.port)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["8 blocks of the prompt are known", "OK b'42'", "NOT_FOUND b''"]
