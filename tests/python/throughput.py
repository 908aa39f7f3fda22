"""How fast values move through Python, beside the C bench: the same daemon, by turns.   throughput.py BENCH [SECONDS]

Values of 1 MiB over TCP. Prints for each direction MiB/s of both and Python's share; the share is the figure, as it is
of neighbouring seconds. Exit code 1: a share is below the goal."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import infinistore
from conftest import Server, address

VALUE = 1 << 20
VALUES = 64
ROUNDS = 5
GOAL = 0.8


def of_bench(bench: str, server: Server, operation: str, depth: int, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as directory:
        file = os.path.join(directory, "json")
        command = [bench, f"--endpoint=127.0.0.1:{server.port}", f"--op={operation}", f"--size={VALUE}", "--verify=none"]
        command += [f"--depth={depth}", f"--duration={seconds}s", f"--working-set={VALUES * VALUE}", f"--json={file}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with open(file, encoding="utf-8") as results:
            return float(json.load(results)["results"][0]["bytes_per_second"]) / (1 << 20)


async def move(call, buffer: bytearray, depth: int, seconds: float) -> int:
    """`depth` of them in flight; returns how many were done."""
    end, done = time.perf_counter() + seconds, 0

    async def one(lane: int) -> int:
        count = 0
        while time.perf_counter() < end:
            await call([(f"python/{(lane + count * depth) % VALUES}", 0)], VALUE, address(buffer) + lane * VALUE)
            count += 1
        return count

    for count in await asyncio.gather(*(one(lane) for lane in range(depth))):
        done += count
    return done


def of_coroutines(connection, buffer: bytearray, operation: str, seconds: float, depth: int = 16) -> float:
    call = connection.rdma_write_cache_async if operation == "put" else connection.rdma_read_cache_async
    start = time.perf_counter()
    done = asyncio.run(move(call, buffer, depth, seconds))
    return done * VALUE / (time.perf_counter() - start) / (1 << 20)


def of_blocking(connection, buffer: bytearray, operation: str, seconds: float) -> float:
    start, done, place = time.perf_counter(), 0, address(buffer)
    while time.perf_counter() < start + seconds:
        key = f"python/{done % VALUES}"
        if operation == "put":
            connection.tcp_write_cache(key, place, VALUE)
        else:
            connection.tcp_read_cache(key)
        done += 1
    return done * VALUE / (time.perf_counter() - start) / (1 << 20)


def main() -> int:
    bench, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    server, low = Server(), False
    try:
        with infinistore.InfinityConnection(server.config()) as connection:
            buffer = bytearray(os.urandom(16 * VALUE))
            connection.register_mr(buffer)
            print(f"{'1 MiB, TCP':30} {'Python':>8} {'C':>8}  share")
            for name, depth, call in [("rdma_*_cache_async", 16, of_coroutines), ("tcp_*_cache", 1, of_blocking)]:
                for operation in ("put", "get"):
                    call(connection, buffer, operation, 0.2)
                    pairs = [
                        (call(connection, buffer, operation, seconds), of_bench(bench, server, operation, depth, seconds))
                        for _ in range(ROUNDS)
                    ]
                    share = statistics.median(python / c for python, c in pairs)
                    low = low or share < GOAL
                    python, c = (statistics.median(side) for side in zip(*pairs))
                    print(f"{name + ' ' + operation:30} {python:8.0f} {c:8.0f}  {share:.2f}", flush=True)
    finally:
        server.stop()
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
