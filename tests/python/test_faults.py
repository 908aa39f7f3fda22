"""A server that stalls, dies, comes back, or is none."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
import time

import pytest

import infinistore
from conftest import address, wait_for
from infinistore import Status


def first_answer(call):
    """The one failed call that a restart may cost, and the first that works."""
    failures = 0
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            return call(), failures
        except infinistore.InfiniStoreException as error:
            assert error.status is Status.PEER
            failures += 1
    raise AssertionError("it stays dead")


def test_restart__one_call_fails_and_the_object_lives(own_server):
    buffer = bytearray(b"x" * 100)
    with infinistore.InfinityConnection(own_server.config()) as connection:
        connection.register_mr(address(buffer), 100)
        connection.put_batch(["k"], [b"1"])
        incarnation = connection.conn.incarnation
        own_server.kill()
        own_server.start()
        present, failures = first_answer(lambda: connection.check_exist("k"))
        assert present is False and failures <= 1
        assert connection.conn.incarnation not in (0, incarnation)
        write = connection.rdma_write_cache_async([("k", 0)], 100, address(buffer))
        assert asyncio.run(write) == 200  # what was registered still is


def test_restart__with_calls_in_flight__they_fail_and_the_next_work(own_server):
    buffer = bytearray(1 << 20)

    async def run(connection):
        own_server.process.send_signal(signal.SIGSTOP)
        writes = [
            asyncio.ensure_future(connection.rdma_write_cache_async([(f"k{i}", 0)], 1 << 20, address(buffer)))
            for i in range(16)
        ]
        await asyncio.sleep(0.05)
        own_server.kill()
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert all(isinstance(result, infinistore.InfiniStoreException) for result in results)
        own_server.start()
        for _ in range(2):
            try:
                assert await connection.rdma_write_cache_async([("k", 0)], 100, address(buffer)) == 200
                return
            except infinistore.InfiniStoreException:
                pass
        raise AssertionError("it stays dead")

    with infinistore.InfinityConnection(own_server.config()) as connection:
        connection.register_mr(address(buffer), len(buffer))
        asyncio.run(run(connection))


def test_stalled_server__every_call_ends_by_its_deadline(own_server):
    buffer = bytearray(100)
    calls = {
        "check_exist": lambda c: c.check_exist("k"),
        "tcp_read_cache": lambda c: c.tcp_read_cache("k"),
        "tcp_write_cache": lambda c: c.tcp_write_cache("k", address(buffer), 100),
        "get_match_last_index": lambda c: c.get_match_last_index(["k"]),
        "delete_keys": lambda c: c.delete_keys(["k"]),
        "rdma_read": lambda c: asyncio.run(c.rdma_read_cache_async([("k", 0)], 100, address(buffer))),
        "rdma_write": lambda c: asyncio.run(c.rdma_write_cache_async([("k", 0)], 100, address(buffer))),
        "put_batch": lambda c: c.put_batch(["k"], [b"v"], timeout=0.1),
        "get_batch_into": lambda c: c.get_batch_into(["k"], [buffer], timeout=0.1),
        "exists_batch": lambda c: c.exists_batch(["k"], timeout=0.1),
        "match_prefix": lambda c: c.match_prefix(["k"], timeout=0.1),
        "stat": lambda c: c.stat(timeout=0.1),
        "ping": lambda c: c.ping(timeout=0.1),
        "purge": lambda c: c.purge(timeout=0.1),
    }
    with infinistore.InfinityConnection(own_server.config(request_timeout=0.2)) as connection:
        connection.register_mr(address(buffer), 100)
        own_server.process.send_signal(signal.SIGSTOP)
        for name, call in calls.items():
            start = time.monotonic()
            with pytest.raises(infinistore.InfiniStoreException) as caught:
                call(connection)
            assert caught.value.status in (Status.TIMEOUT, Status.PEER), name
            assert time.monotonic() - start < 5, name
        own_server.process.send_signal(signal.SIGCONT)


def test_stalled_server__calls_that_wait_for_their_turn__end_too(own_server):
    buffer = bytearray(100)

    async def run(connection):
        calls = [connection.rdma_write_cache_async([("k", 0)], 100, address(buffer)) for _ in range(300)]
        return await asyncio.gather(*calls, return_exceptions=True)

    with infinistore.InfinityConnection(own_server.config(request_timeout=0.3)) as connection:
        connection.register_mr(address(buffer), 100)
        own_server.process.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        results = asyncio.run(run(connection))
        assert time.monotonic() - start < 5
        assert all(isinstance(result, infinistore.InfiniStoreException) for result in results)
        own_server.process.send_signal(signal.SIGCONT)


def test_call_that_waits_for_its_turn__cancelled_or_out_of_time__ends_at_once(own_server):
    """The library has nothing of it yet: there is nothing to wait for."""

    async def run(connection):
        flood = [asyncio.ensure_future(connection.exists_batch_async(["k"])) for _ in range(128)]
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(connection.exists_batch_async(["k"]))
        with pytest.raises(infinistore.InfiniStoreException, match="in flight") as caught:
            await connection.exists_batch_async(["k"], timeout=0.05)
        assert caught.value.status is Status.TIMEOUT
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not any(call.done() for call in flood)
        own_server.kill()
        results = await asyncio.gather(*flood, return_exceptions=True)
        assert {result.status for result in results} == {Status.PEER}

    with infinistore.InfinityConnection(own_server.config()) as connection:
        own_server.process.send_signal(signal.SIGSTOP)
        asyncio.run(run(connection))


def test_stranger__that_speaks_something_else__is_told_from_a_server():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(4096))
                peer.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        config = infinistore.ClientConfig(
            host_addr="127.0.0.1", service_port=listener.getsockname()[1], connection_type="TCP", connect_timeout=5
        )
        with pytest.raises(infinistore.InfiniStoreException):
            infinistore.InfinityConnection(config).connect()
        thread.join()


def test_server__that_never_answers__connect_ends_by_its_deadline():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = infinistore.ClientConfig(
            host_addr="127.0.0.1", service_port=listener.getsockname()[1], connection_type="TCP", connect_timeout=0.2
        )
        start = time.monotonic()
        with pytest.raises(infinistore.InfiniStoreException):
            infinistore.InfinityConnection(config).connect()
        assert 0.1 < time.monotonic() - start < 5


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_descriptors_and_objects__after_many_connections__are_as_before(server):
    async def use(connection):
        await connection.put_batch_async(["k"], [b"v"])
        with pytest.raises(infinistore.InfiniStoreException):
            await connection.rdma_read_cache_async([("k", 0)], 1, 4096)

    def cycle():
        connection = infinistore.InfinityConnection(server.config())
        connection.connect()
        asyncio.run(use(connection))
        connection.close()

    cycle()
    gc.collect()
    before, objects = open_descriptors(), len(gc.get_objects())
    for _ in range(30):
        cycle()
    gc.collect()
    assert open_descriptors() == before
    assert len(gc.get_objects()) < objects + 100


def test_references__after_many_calls__are_as_before(connection):
    import sys

    key, value, target = "a key/" + "k" * 40, bytearray(100), bytearray(100)
    connection.register_mr(address(value), 100)
    blocks = [(key, 0)]

    def cycle():
        connection.put_batch([key], [value])
        connection.get_batch_into([key, key], [target, (address(value), 100)])
        connection.exists_batch([key])
        connection.match_prefix([key])
        connection.tcp_read_cache(key)
        for wrong in ([key], [key, None]):
            with pytest.raises((TypeError, ValueError)):
                connection.put_batch(wrong, [value, 7])

    async def cycles(count):
        for _ in range(count):
            await connection.rdma_write_cache_async(blocks, 100, address(value))
            with pytest.raises(infinistore.InfiniStoreException):
                await connection.rdma_write_cache_async([(key, 1)], 100, address(value))
            await connection.exists_batch_async([key])

    def counts():
        gc.collect()
        return [sys.getrefcount(item) for item in (key, value, target, blocks[0], None)]

    cycle()
    asyncio.run(cycles(1))
    before = counts()
    for _ in range(100):
        cycle()
    asyncio.run(cycles(100))
    after = counts()
    assert after[:4] == before[:4]
    assert abs(after[4] - before[4]) < 60  # others hold None, too


def test_server__killed_while_a_loop_is_idle__costs_no_cpu(own_server):
    """A dead connection's descriptor does not wake the loop over and over."""

    async def run(connection):
        await connection.exists_batch_async(["k"])
        own_server.kill()
        await asyncio.sleep(0.1)
        start = time.process_time()
        await asyncio.sleep(0.3)
        return time.process_time() - start

    with infinistore.InfinityConnection(own_server.config()) as connection:
        assert asyncio.run(run(connection)) < 0.1
        wait_for(lambda: connection.conn.incarnation == 0 or True)
