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
from conftest import TYPE, Server, address, tcp_only, wait_for

SECONDS = float(os.environ.get("IST_TEST_SECONDS", "3"))
MIB = 1 << 20
LANES = 24


def contents(key: str, size: int) -> bytes:
    """Of a key, and of no other."""
    piece = random.Random(key).randbytes(251)
    return (piece * (size // 251 + 1))[:size]


class Restarter(threading.Thread):
    """Kills the server in the middle, and starts it again.

    wanted: what has to be seen before and after. On a busy machine, or an emulated one, that takes longer."""

    PATIENCE = 60.0

    def __init__(self, server: Server, seconds: float, *wanted: str) -> None:
        super().__init__()
        self.server, self.seconds, self.wanted = server, seconds, wanted
        self.end = time.monotonic() + seconds
        #: 0 before, 1 without a server, 2 after
        self.era = 0
        self.tally: Counter[str] = Counter()
        self.start()

    def run(self) -> None:
        time.sleep(self.seconds / 2)
        wait_for(lambda: self.seen("before"), self.PATIENCE)
        self.era = 1
        self.server.kill()
        self.server.start()
        self.era = 2

    def count(self, what: str) -> None:
        self.tally[f"{'before' if self.era < 2 else 'after'}: {what}"] += 1

    def seen(self, when: str) -> bool:
        return all(self.tally[f"{when}: {what}"] > 0 for what in self.wanted)

    def goes_on(self) -> bool:
        """Until the time is up and all that is wanted was seen."""
        now = time.monotonic()
        return now < self.end or (not self.seen("after") and now < self.end + 2 * self.PATIENCE)


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


async def load_lmcache(double: LMCacheDouble, restarter: Restarter) -> None:
    async def lane(number: int) -> None:
        dice = random.Random(number)
        while restarter.goes_on():
            key = f"vllm@meta-llama/Llama-3@{dice.randrange(4)}@{number}@{dice.randrange(200):x}"
            # sizes that no alignment likes
            value = contents(key, dice.choice([1, 1000, 65537, 500_001, 2 * MIB + 13]))
            _, nothing = await asyncio.gather(double.put(key, value), double.get(f"nobody/{key}"))
            assert nothing is None
            found = await double.get(key) if await exists(key) else None
            assert found is None or found == value
            restarter.count("miss" if found is None else "hit")

    async def exists(key: str) -> bool:
        try:
            return await double.exists(key)
        except infinistore.InfiniStoreException:
            return False

    await asyncio.gather(*(lane(i) for i in range(LANES)))


def test_lmcache__load_and_a_restart__no_wrong_byte_and_hits_again(own_server):
    loop = asyncio.new_event_loop()
    try:
        # Memory of 1.3 GB takes longer to touch than the test should take, and is too much for a user-mode kernel.
        buffer_bytes = LMCacheDouble.BUFFER_BYTES if SECONDS > 10 and TYPE == infinistore.TYPE_TCP else 3 * MIB
        double = LMCacheDouble(own_server.config(), loop, buffer_bytes=buffer_bytes)
        restarter = Restarter(own_server, SECONDS, "hit")
        loop.run_until_complete(load_lmcache(double, restarter))
        restarter.join()
        double.connection.close()
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
    print(dict(restarter.tally))
    assert restarter.seen("before") and restarter.seen("after")
    assert restarter.tally["after: miss"] <= 2 * LANES  # what was in flight, and one failed call


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


async def load_aibrix(double: AIBrixDouble, restarter: Restarter) -> None:
    size, batch = double.BLOCK_BYTES, 8

    async def batches(lane: int) -> None:
        """Writes from its part of one slab, reads into its part of the other."""
        offsets = [(lane * batch + i) * size for i in range(batch)]
        era, keys = restarter.era, [f"{os.urandom(16).hex()}_{lane}" for _ in range(batch)]
        for key, offset in zip(keys, offsets):
            double.slabs[0][offset : offset + size] = contents(key, size)
        await double.mput(keys, double.slabs[0], offsets)
        there = await double.exists(keys[0])
        assert not await double.mget(["nobody", *keys[1:]], double.slabs[1], offsets)
        found = await double.mget(keys, double.slabs[1], offsets)
        assert (there and found) or era < 2
        if found:
            for key, offset in zip(keys, offsets):
                assert double.slabs[1][offset : offset + size] == contents(key, size)
            restarter.count("hit")

    async def singles(lane: int) -> None:
        key = f"{lane:x}{os.urandom(8).hex()}@single"
        era, value = restarter.era, bytearray(contents(key, size))
        await double.tcp(lambda c: c.tcp_write_cache(key, address(value), size))
        try:
            got = await double.tcp(lambda c: c.tcp_read_cache(key))
        except infinistore.InfiniStoreKeyNotFound:
            assert era < 2
            raise
        assert len(got) == size and bytes(got) == bytes(value)
        restarter.count("single")

    async def forever(work, lane: int) -> None:
        """An exception counts as a miss."""
        while restarter.goes_on():
            try:
                await work(lane)
            except infinistore.InfiniStoreException:
                restarter.count("miss")

    await asyncio.gather(*(forever(batches, i) for i in range(8)), *(forever(singles, i) for i in range(4)))


def test_aibrix__load_and_a_restart__no_wrong_byte_and_hits_again(own_server):
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        double = AIBrixDouble(own_server.config(), executor)
        restarter = Restarter(own_server, SECONDS, "hit", "single")
        asyncio.run(load_aibrix(double, restarter))
        restarter.join()
        double.close()
    tally = restarter.tally
    print(dict(tally))
    assert restarter.seen("before") and restarter.seen("after")
    assert tally["after: miss"] <= 2 * 12  # what was in flight, and one failed call


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


@pytest.mark.parametrize("size", [28 + 1, 28 + 4095, 5 * MIB + 1, pytest.param(40 * MIB, marks=tcp_only)])
def test_lmcache__sizes__are_exact(own_server, size):
    loop = asyncio.new_event_loop()
    double = LMCacheDouble(own_server.config(), loop, 1, size)
    value = contents("size", size - 28)
    assert loop.run_until_complete(double.put("k", value))
    assert loop.run_until_complete(double.get("k")) == value
    assert loop.run_until_complete(double.get("nobody")) is None
    double.connection.close()
    loop.close()
