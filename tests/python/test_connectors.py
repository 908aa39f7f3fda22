"""Doubles of what uses the package: LMCache's and AIBrix's connectors, under load, with a restart of the server in the middle.

IST_TEST_SECONDS says how long each runs, 3 seconds by default; `make check-python-long` takes a minute each, and with
buffers of their true size."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import queue
import random
import struct
import threading
import time
from collections import Counter

import pytest

import infinistore
from conftest import Server, address

SECONDS = float(os.environ.get("IST_TEST_SECONDS", "3"))
MIB = 1 << 20


def contents(key: str, size: int) -> bytes:
    """Of a key, and of no other."""
    piece = random.Random(key).randbytes(251)
    return (piece * (size // 251 + 1))[:size]


class Restarter(threading.Thread):
    """Kills the server in the middle, and starts it again."""

    def __init__(self, server: Server, seconds: float) -> None:
        super().__init__()
        self.server, self.seconds = server, seconds
        self.back_at = 0.0
        self.start()

    def run(self) -> None:
        time.sleep(self.seconds / 2)
        self.server.kill()
        self.server.start()
        self.back_at = time.monotonic()


# ---- LMCache -------------------------------------------------------------------------------------------


class LMCacheDouble:
    """16 + 16 registered buffers of 40 MiB that are unaligned; values with a header of 28 bytes; an exception is a
    miss. It connects in its constructor, before the loop runs, and asks for keys from the loop's executor."""

    HEADER = struct.Struct("<4sQ16x")
    BUFFER_BYTES = 40 * MIB
    BUFFERS = 16

    def __init__(
        self,
        config: infinistore.ClientConfig,
        loop: asyncio.AbstractEventLoop,
        buffers: int = BUFFERS,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> None:
        self.buffer_bytes = buffer_bytes
        self.connection = infinistore.InfinityConnection(config)
        self.connection.connect()
        self.loop = loop
        self.send = [bytearray(buffer_bytes) for _ in range(buffers)]
        self.receive = [bytearray(buffer_bytes) for _ in range(buffers)]
        self.send_queue: asyncio.Queue[int] = asyncio.Queue()
        self.receive_queue: asyncio.Queue[int] = asyncio.Queue()
        for i in range(buffers):
            for buffer, free in ((self.send[i], self.send_queue), (self.receive[i], self.receive_queue)):
                assert self.connection.register_mr(address(buffer), buffer_bytes) == 0
                free.put_nowait(i)

    async def exists(self, key: str) -> bool:
        return await self.loop.run_in_executor(None, self.connection.check_exist, key)

    async def get(self, key: str) -> bytes | None:
        i = await self.receive_queue.get()
        buffer = self.receive[i]
        try:
            await self.connection.rdma_read_cache_async([(key, 0)], self.buffer_bytes, address(buffer))
            magic, size = self.HEADER.unpack_from(buffer)
            assert magic == b"KV\0\1"
            return bytes(memoryview(buffer)[self.HEADER.size : self.HEADER.size + size])
        except infinistore.InfiniStoreException:
            return None
        finally:
            self.receive_queue.put_nowait(i)

    async def put(self, key: str, value: bytes) -> bool:
        i = await self.send_queue.get()
        buffer = self.send[i]
        self.HEADER.pack_into(buffer, 0, b"KV\0\1", len(value))
        buffer[self.HEADER.size : self.HEADER.size + len(value)] = value
        try:
            size = self.HEADER.size + len(value)
            return await self.connection.rdma_write_cache_async([(key, 0)], size, address(buffer)) == 200
        except infinistore.InfiniStoreException:
            return False
        finally:
            self.send_queue.put_nowait(i)


async def load_lmcache(double: LMCacheDouble, restarter: Restarter, end: float) -> Counter[str]:
    tally: Counter[str] = Counter()

    async def lane(number: int) -> None:
        dice = random.Random(number)
        while time.monotonic() < end:
            key = f"vllm@meta-llama/Llama-3@{dice.randrange(4)}@{number}@{dice.randrange(200):x}"
            # sizes that no alignment likes
            value = contents(key, dice.choice([1, 1000, 65537, 500_001, 2 * MIB + 13]))
            stored, _ = await asyncio.gather(double.put(key, value), double.get(f"nobody/{key}"))
            found = await double.get(key) if await exists(key) else None
            assert found is None or found == value
            phase = "after" if restarter.back_at and time.monotonic() > restarter.back_at + 0.2 else "before"
            tally[f"{phase}: {'hit' if found is not None else 'miss'}"] += 1
            assert stored or not restarter.back_at or phase == "before"

    async def exists(key: str) -> bool:
        try:
            return await double.exists(key)
        except infinistore.InfiniStoreException:
            return False

    await asyncio.gather(*(lane(i) for i in range(24)))
    return tally


def test_lmcache__load_and_a_restart__no_wrong_byte_and_hits_again(own_server):
    loop = asyncio.new_event_loop()
    try:
        # Memory of 1.3 GB takes longer to touch than the test should take.
        buffer_bytes = LMCacheDouble.BUFFER_BYTES if SECONDS > 10 else 4 * MIB
        double = LMCacheDouble(own_server.config(), loop, buffer_bytes=buffer_bytes)
        restarter = Restarter(own_server, SECONDS)
        tally = loop.run_until_complete(load_lmcache(double, restarter, time.monotonic() + SECONDS))
        restarter.join()
        double.connection.close()
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
    print(dict(tally))
    assert tally["before: hit"] > 0 and tally["after: hit"] > 0
    assert tally["after: miss"] <= 24  # at most one call of each lane


# ---- AIBrix --------------------------------------------------------------------------------------------


class AIBrixDouble:
    """Slabs that are registered, and batches of (key, offset) into them; the control plane from executor threads behind
    a lock; with TCP one connection for each thread of the executor."""

    BLOCK_BYTES = 65_536 + 4096
    SLAB_BLOCKS = 64

    def __init__(self, config: infinistore.ClientConfig, executor: concurrent.futures.ThreadPoolExecutor) -> None:
        self.executor = executor
        self.lock = threading.Lock()
        self.connection = infinistore.InfinityConnection(config)
        self.connection.connect()
        self.slabs = [bytearray(self.BLOCK_BYTES * self.SLAB_BLOCKS) for _ in range(2)]
        for slab in self.slabs:
            assert self.connection.register_mr(address(slab), len(slab)) == 0
        self.connections: queue.Queue[infinistore.InfinityConnection] = queue.Queue()
        for _ in range(executor._max_workers):
            connection = infinistore.InfinityConnection(config)
            connection.connect()
            self.connections.put(connection)

    async def exists(self, key: str) -> bool:
        def ask() -> bool:
            with self.lock:
                return self.connection.check_exist(key)

        return await asyncio.get_running_loop().run_in_executor(self.executor, ask)

    async def mput(self, keys: list[str], slab: bytearray, offsets: list[int]) -> None:
        await self.connection.rdma_write_cache_async(list(zip(keys, offsets)), self.BLOCK_BYTES, address(slab))

    async def mget(self, keys: list[str], slab: bytearray, offsets: list[int]) -> bool:
        try:
            await self.connection.rdma_read_cache_async(list(zip(keys, offsets)), self.BLOCK_BYTES, address(slab))
        except infinistore.InfiniStoreKeyNotFound:
            return False
        return True

    async def tcp(self, call):
        def run():
            connection = self.connections.get()
            try:
                return call(connection)
            finally:
                self.connections.put(connection)

        return await asyncio.get_running_loop().run_in_executor(self.executor, run)

    def close(self) -> None:
        self.connection.close()
        while not self.connections.empty():
            self.connections.get().close()


async def load_aibrix(double: AIBrixDouble, restarter: Restarter, end: float) -> Counter[str]:
    tally: Counter[str] = Counter()
    size, batch = double.BLOCK_BYTES, 8

    def phase() -> str:
        return "after" if restarter.back_at and time.monotonic() > restarter.back_at + 0.2 else "before"

    async def batches(lane: int) -> None:
        """Writes from its part of one slab, reads into its part of the other."""
        dice = random.Random(lane)
        offsets = [(lane * batch + i) * size for i in range(batch)]
        while time.monotonic() < end:
            keys = [f"{dice.randbytes(16).hex()}_{lane}" for _ in range(batch)]
            for key, offset in zip(keys, offsets):
                double.slabs[0][offset : offset + size] = contents(key, size)
            await double.mput(keys, double.slabs[0], offsets)
            assert await double.exists(keys[0]) or phase() == "before"
            assert not await double.mget(["nobody", *keys[1:]], double.slabs[1], offsets)
            if await double.mget(keys, double.slabs[1], offsets):
                for key, offset in zip(keys, offsets):
                    assert double.slabs[1][offset : offset + size] == contents(key, size)
                tally[f"{phase()}: hit"] += 1

    async def singles(lane: int) -> None:
        count = 0
        while time.monotonic() < end:
            count += 1
            key = f"{lane:x}{count:x}@single"
            value = bytearray(contents(key, size))
            await double.tcp(lambda c: c.tcp_write_cache(key, address(value), size))
            got = await double.tcp(lambda c: c.tcp_read_cache(key))
            assert len(got) == size and bytes(got) == bytes(value)
            tally[f"{phase()}: single"] += 1

    async def forever(work, lane: int) -> None:
        """An exception counts as a miss."""
        while time.monotonic() < end:
            try:
                await work(lane)
            except infinistore.InfiniStoreException:
                tally[f"{phase()}: miss"] += 1

    await asyncio.gather(*(forever(batches, i) for i in range(8)), *(forever(singles, i) for i in range(4)))
    return tally


def test_aibrix__load_and_a_restart__no_wrong_byte_and_hits_again(own_server):
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        double = AIBrixDouble(own_server.config(), executor)
        restarter = Restarter(own_server, SECONDS)
        tally = asyncio.run(load_aibrix(double, restarter, time.monotonic() + SECONDS))
        restarter.join()
        double.close()
    print(dict(tally))
    for what in ("before: hit", "before: single", "after: hit", "after: single"):
        assert tally[what] > 0, what
    assert tally["after: miss"] <= 20  # at most one call of each connection's users


def test_thread_double__a_wrong_byte_is_seen(own_server):
    """The doubles' own check: without it they would prove nothing."""
    loop = asyncio.new_event_loop()
    double = LMCacheDouble(own_server.config(), loop, 1, MIB)
    key, value = "k", contents("k", 1000)
    assert loop.run_until_complete(double.put(key, value))
    stored = bytearray(bytes(double.connection.tcp_read_cache(key)))
    stored[-1] ^= 1
    double.connection.put_batch([key], [stored])
    assert loop.run_until_complete(double.get(key)) != value
    double.connection.close()
    loop.close()


@pytest.mark.parametrize("size", [28 + 1, 28 + 4095, 40 * MIB])
def test_lmcache__sizes__are_exact(own_server, size):
    loop = asyncio.new_event_loop()
    double = LMCacheDouble(own_server.config(), loop, 1)
    value = contents("size", size - 28)
    assert loop.run_until_complete(double.put("k", value))
    assert loop.run_until_complete(double.get("k")) == value
    assert loop.run_until_complete(double.get("nobody")) is None
    double.connection.close()
    loop.close()
