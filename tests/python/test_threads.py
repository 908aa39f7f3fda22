"""Threads and event loops on one connection; what becomes of calls whose loop, task or connection ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import multiprocessing
import os
import signal
import threading
import time

import pytest

import infinistore
from conftest import address, asyncio_only, wait_for


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def loop_thread():
    thread = LoopThread()
    yield thread
    if not thread.loop.is_closed():
        thread.stop()


@pytest.fixture
def buffer(connection):
    buffer = bytearray(os.urandom(1 << 20))
    connection.register_mr(address(buffer), len(buffer))
    return buffer


def test_check_exist__from_executor_and_threads__while_blocks_move_on_two_loops(connection, buffer):
    """Nobody is left waiting for what another thread has received."""
    rounds, size = 60, 40_000
    loops = [LoopThread(), LoopThread()]

    async def move(name):
        loop = asyncio.get_running_loop()
        for i in range(rounds):
            keys = [(f"{name}/{i}/{j}", j * size) for j in range(4)]
            await asyncio.gather(
                *(connection.rdma_write_cache_async([key], size, address(buffer)) for key in keys),
                connection.rdma_write_cache_async(keys, size, address(buffer)),
            )
            assert await loop.run_in_executor(None, connection.check_exist, keys[0][0])
            await connection.rdma_read_cache_async(keys, size, address(buffer))

    def ask():
        for i in range(rounds * 4):
            assert connection.check_exist(f"nobody/{i}") is False

    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        asking = [executor.submit(ask) for _ in range(4)]
        moving = [loop.run(move(f"loop{i}")) for i, loop in enumerate(loops)]
        for future in [*asking, *moving]:
            future.result(60)
    for loop in loops:
        loop.stop()


def test_blocking_call__lets_other_threads_run(own_server):
    """The interpreter's lock is not held while the server takes its time."""
    with infinistore.InfinityConnection(own_server.config()) as connection:
        own_server.process.send_signal(signal.SIGSTOP)
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            asked = executor.submit(connection.check_exist, "k")
            ticks = sum(1 for _ in range(100_000))
            assert ticks == 100_000 and not asked.done()
            own_server.process.send_signal(signal.SIGCONT)
            assert asked.result(20) is False


def test_blocking_thread__completes_what_a_loop_has_in_flight(own_server, loop_thread):
    """A thread that waits for a reply of its own receives those of a loop, and the loop learns of it at once."""
    buffer = bytearray(4096)
    with infinistore.InfinityConnection(own_server.config()) as connection:
        connection.register_mr(address(buffer), 4096)
        for i in range(200):
            write = loop_thread.run(connection.rdma_write_cache_async([(f"k{i}", 0)], 4096, address(buffer)))
            connection.check_exist("k")
            assert write.result(20) == 200


def test_busy_loop__learns_of_what_a_thread_has_completed(own_server, loop_thread):
    """The reply was taken while the loop did not look: its descriptor of the client tells nothing any more."""
    buffer, done = bytearray(4096), threading.Event()
    with infinistore.InfinityConnection(own_server.config()) as connection:
        connection.register_mr(address(buffer), 4096)

        async def write_and_block():
            task = asyncio.ensure_future(connection.rdma_write_cache_async([("k", 0)], 4096, address(buffer)))
            await asyncio.sleep(0)
            assert done.wait(20)
            return await task

        start = time.monotonic()
        write = loop_thread.run(write_and_block())
        wait_for(lambda: connection._line._channels)
        wait_for(lambda: connection.check_exist("k"))
        connection.ping()
        done.set()
        assert write.result(20) == 200
        assert time.monotonic() - start < 10  # not by its deadline


@asyncio_only
def test_idle_loop__is_not_woken_by_what_threads_do(connection):
    async def run():
        loop = asyncio.get_running_loop()
        await connection.exists_batch_async(["k"])
        client_fd = connection._line._channels[loop]._native.client_fd
        assert client_fd in loop._selector.get_map()
        while client_fd in loop._selector.get_map():  # one wake is what it costs
            await loop.run_in_executor(None, connection.check_exist, "k")
        await connection.exists_batch_async(["k"])
        assert client_fd in loop._selector.get_map()

    asyncio.run(asyncio.wait_for(run(), 20))


def test_loop__closed_with_calls_in_flight__is_left_alone(own_server):
    buffer, held = bytearray(1 << 20), bytearray(100)
    with infinistore.InfinityConnection(own_server.config()) as connection:
        connection.register_mr(address(buffer), len(buffer))
        own_server.process.send_signal(signal.SIGSTOP)
        loop = asyncio.new_event_loop()
        tasks = [
            loop.create_task(connection.rdma_write_cache_async([(f"k{i}", 0)], 1 << 20, address(buffer)))
            for i in range(8)
        ]
        tasks.append(loop.create_task(connection.put_batch_async(["held"], [held])))
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
        assert asyncio.run(asyncio.sleep(0, 1)) == 1
        own_server.process.send_signal(signal.SIGCONT)
        assert connection.check_exist("nobody") is False
        wait_for(lambda: connection.check_exist("k7"))
        assert asyncio.run(connection.exists_batch_async(["k0", "nobody"])) == [True, False]
        assert len(connection._line._channels) == 1
        for task in tasks:
            task._log_destroy_pending = False
        del tasks, task
        gc.collect()
        held.append(1)  # nobody holds its memory any more


def test_close__with_calls_in_flight__ends_them(own_server, loop_thread):
    buffer = bytearray(1 << 20)
    connection = infinistore.InfinityConnection(own_server.config())
    connection.connect()
    connection.register_mr(address(buffer), len(buffer))
    own_server.process.send_signal(signal.SIGSTOP)
    moving = [
        loop_thread.run(connection.rdma_write_cache_async([(f"k{i}", 0)], 1 << 20, address(buffer))) for i in range(200)
    ]
    wait_for(lambda: connection._line._channels and next(iter(connection._line._channels.values()))._queue)
    connection.close()
    for future in moving:
        with pytest.raises(infinistore.InfiniStoreException):
            future.result(20)
    own_server.process.send_signal(signal.SIGCONT)


@asyncio_only
def test_close__from_the_loop_itself__stops_watching(server):
    async def run():
        loop = asyncio.get_running_loop()
        before = len(loop._selector.get_map())
        connection = infinistore.InfinityConnection(server.config())
        connection.connect()
        await connection.exists_batch_async(["k"])
        assert len(loop._selector.get_map()) > before
        connection.close()
        assert len(loop._selector.get_map()) == before

    asyncio.run(run())


def test_close__while_a_thread_is_in_a_call__waits_for_nobody(own_server, loop_thread):
    """What is in flight on a loop then ends with the thread's call."""
    before = len(os.listdir("/proc/self/fd"))
    connection = infinistore.InfinityConnection(own_server.config(request_timeout=60.0))
    connection.connect()
    own_server.process.send_signal(signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        asked = [executor.submit(connection.check_exist, "k") for _ in range(2)]
        asked.append(loop_thread.run(connection.exists_batch_async(["k"], timeout=100)))
        wait_for(lambda: all(future.running() for future in asked[:2]) and connection._line._channels)
        time.sleep(0.05)  # let them send: there is no other sign of it
        start = time.monotonic()
        connection.close()
        assert time.monotonic() - start < 30  # not by their deadline
        own_server.kill()
        for future in asked:
            with pytest.raises(infinistore.InfiniStoreException):
                future.result(20)
    wait_for(lambda: len(os.listdir("/proc/self/fd")) == before)


def test_cancel__takes_effect_when_the_memory_is_free_again(own_server, loop_thread):
    buffer = bytearray(1 << 20)
    with infinistore.InfinityConnection(own_server.config()) as connection:
        connection.register_mr(address(buffer), len(buffer))
        own_server.process.send_signal(signal.SIGSTOP)

        async def cancelled_twice():
            task = asyncio.ensure_future(
                connection.rdma_write_cache_async([("k", 0)], 1 << 20, address(buffer))
            )
            for _ in range(2):
                await asyncio.sleep(0.01)
                task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done()  # the library may still read from the buffer
            own_server.process.send_signal(signal.SIGCONT)
            with pytest.raises(asyncio.CancelledError):
                await task

        loop_thread.run(cancelled_twice()).result(20)
        connection.ping()


@asyncio_only
def test_connection__collected_while_its_loop_runs__stops_watching(server, loop_thread):
    async def use():
        connection = infinistore.InfinityConnection(server.config())
        connection.connect()
        return await connection.exists_batch_async(["k"])

    before = len(loop_thread.loop._selector.get_map())
    for _ in range(5):
        assert loop_thread.run(use()).result(20) == [False]
    gc.collect()
    wait_for(lambda: len(loop_thread.loop._selector.get_map()) == before)


def test_many_connections__in_threads__of_executors(server):
    """AIBrix has one connection for each thread of its executor."""

    def work(number):
        connection = infinistore.InfinityConnection(server.config())
        connection.connect()
        source = bytearray([number]) * 50_000
        for i in range(50):
            connection.tcp_write_cache(f"{number}/{i}", address(source), len(source))
            assert bytes(connection.tcp_read_cache(f"{number}/{i}")) == bytes(source)
        connection.close()

    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        for future in [executor.submit(work, number) for number in range(16)]:
            future.result(60)


def in_child(connection, results):
    try:
        connection.check_exist("k")
        results.put("it used the parent's connection")
    except infinistore.InfiniStoreException as error:
        connection.connect()
        results.put((str(error), connection.check_exist("k")))


def test_fork__child__connects_anew_and_leaves_the_parents_alone(connection):
    connection.put_batch(["k"], [b"v"])
    asyncio.run(connection.exists_batch_async(["k"]))
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=in_child, args=(connection, results))
    child.start()
    assert results.get(timeout=20) == ("not connected", True)
    child.join(20)
    assert connection.check_exist("k")
