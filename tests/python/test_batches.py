"""Batch calls with per-key results, and what they accept as values."""

from __future__ import annotations

import array
import asyncio
import concurrent.futures
import signal
import threading

import pytest

import infinistore
from conftest import POOL_MIB, address
from infinistore import Status


class Tensor:
    """What the package asks of torch's: a pointer, sizes, where it is."""

    def __init__(self, buffer, contiguous=True, cuda=False):
        self.buffer, self.contiguous, self.is_cuda = buffer, contiguous, cuda

    def data_ptr(self):
        return address(self.buffer)

    def numel(self):
        return len(self.buffer) // 2

    def element_size(self):
        return 2

    def is_contiguous(self):
        return self.contiguous


def test_put_batch__every_kind_of_value__arrives(connection):
    numpy = pytest.importorskip("numpy")
    buffer = bytearray(b"by address")
    values = [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"xxmemoryview")[2:],
        array.array("H", [1, 2, 3]),
        numpy.arange(6, dtype=numpy.int16).reshape(2, 3),
        Tensor(bytearray(b"ten sor!")),
        (address(buffer), len(buffer)),
    ]
    wanted = [b"bytes", b"bytearray", b"memoryview", b"\1\0\2\0\3\0", b"\0\0\1\0\2\0\3\0\4\0\5\0", b"ten sor!", b"by address"]
    keys = [f"k{i}" for i in range(len(values))]
    assert connection.put_batch(keys, values) == [Status.OK] * len(values)
    assert [bytes(connection.tcp_read_cache(key)) for key in keys] == wanted
    targets = [bytearray(len(text)) for text in wanted]
    targets[4], targets[5] = numpy.zeros(12, dtype=numpy.uint8), Tensor(bytearray(8))
    results = connection.get_batch_into(keys, targets)
    assert all(result.ok for result in results) and [result.size for result in results] == [len(w) for w in wanted]
    targets[4], targets[5] = targets[4].tobytes(), targets[5].buffer
    assert [bytes(target) for target in targets] == wanted


def test_get_batch_into__mixed__tells_of_each_key(connection):
    connection.put_batch(["a", "long"], [b"A", b"0123456789"])
    buffers = [bytearray(b"..."), bytearray(3), bytearray(b"!")]
    results = connection.get_batch_into(["a", "long", "nobody"], buffers)
    assert results == [(Status.OK, 1), (Status.TOO_SMALL, 10), (Status.NOT_FOUND, 0)]
    assert buffers == [b"A..", bytes(3), b"!"]


def test_put_batch__if_absent__keeps_what_is_there(connection):
    connection.put_batch(["a"], [b"old"])
    assert connection.put_batch(["a", "b"], [b"new", b"new"], if_absent=True) == [Status.EXISTS, Status.OK]
    assert bytes(connection.tcp_read_cache("a")) == b"old"


def test_exists_and_match_prefix__holes__are_exact(connection):
    keys = [f"block/{i}" for i in range(1000)]
    assert connection.put_batch(keys[:700] + keys[701:], [b"x"] * 999) == [Status.OK] * 999
    assert connection.match_prefix(keys) == 700
    assert connection.match_prefix(keys[701:]) == 299
    assert connection.exists_batch(keys) == [i != 700 for i in range(1000)]
    assert connection.get_match_last_index(keys) == 999


def test_batches__empty__ask_nobody(connection):
    connection.close()
    assert connection.put_batch([], []) == [] and connection.get_batch_into([], []) == []
    assert connection.exists_batch([]) == [] and connection.match_prefix([]) == 0


def test_batches__too_big_for_the_pool__tells_of_that_key(connection):
    statuses = connection.put_batch(["big", "small"], [bytearray((POOL_MIB + 1) << 20), b"x"])
    assert statuses[0] is Status.TOO_BIG and statuses[1] is Status.OK
    assert connection.exists_batch(["big", "small"]) == [False, True]


@pytest.mark.parametrize(
    "keys, values",
    [
        (["a"], [b"1", b"2"]),
        (["a", "b"], [b"1"]),
        (["a"], [None]),
        (["a"], ["text"]),
        (["a"], [(1, 2, 3)]),
        (["a"], [(-1, 2)]),
        ([1], [b"1"]),
        (["\ud800"], [b"1"]),
        (["a"], [memoryview(b"abcdef")[::2]]),
        (["a"], [Tensor(bytearray(8), contiguous=False)]),
        (["a"], [Tensor(bytearray(8), cuda=True)]),
    ],
)
def test_put_batch__nonsense__raises_and_stores_nothing(connection, keys, values):
    with pytest.raises((TypeError, ValueError, OverflowError, BufferError, infinistore.InfiniStoreException)):
        connection.put_batch(keys, values)
    assert connection.stat()["infinistore_keys_stored"] == 0


def test_get_batch_into__read_only__raises(connection):
    with pytest.raises((BufferError, TypeError)):
        connection.get_batch_into(["a"], [b"constant"])


def test_values__are_let_go_when_the_call_is_over(connection):
    buffer = bytearray(100)
    connection.put_batch(["a"], [buffer])
    connection.get_batch_into(["a", "nobody"], [buffer, bytearray(1)])
    with pytest.raises(ValueError):
        connection.put_batch(["a", "b"], [buffer])
    buffer.extend(b"it may be resized again")

    async def run():
        await connection.put_batch_async(["a"], [buffer])

    asyncio.run(run())
    buffer.clear()


def test_async_batches__give_the_same(connection):
    async def run():
        assert await connection.put_batch_async(["a", "b"], [b"1", b"22"]) == [Status.OK] * 2
        assert await connection.put_batch_async(["a"], [b"9"], if_absent=True) == [Status.EXISTS]
        target = bytearray(2)
        results = await connection.get_batch_into_async(["b", "c"], [target, bytearray(1)])
        assert results == [(Status.OK, 2), (Status.NOT_FOUND, 0)] and target == b"22"
        assert await connection.exists_batch_async(["a", "c"]) == [True, False]
        assert await connection.match_prefix_async(["a", "b", "c"]) == 2
        assert await connection.put_batch_async([], []) == [] and await connection.match_prefix_async([]) == 0
        assert await connection.get_batch_into_async([], []) == [] and await connection.exists_batch_async([]) == []

    asyncio.run(run())


def test_stat__has_the_figures_of_the_server(connection):
    connection.put_batch(["a"], [b"1"])
    figures = connection.stat()
    assert figures["infinistore_keys_stored"] == 1
    assert connection.purge() == 1 and connection.check_exist("a") is False


def test_batches__too_many_keys__tells_so(connection):
    keys = [str(i) for i in range(65_537)]
    for call in (connection.exists_batch, connection.match_prefix, connection.delete_keys):
        with pytest.raises(infinistore.InfiniStoreException) as caught:
            call(keys)
        assert caught.value.status is Status.INVALID
    assert connection.match_prefix(keys[:-1]) == 0


def test_threads__more_than_the_library_takes__raise_and_the_others_go_on(own_server):
    """1,024 requests are in flight on a stalled server's connection: eight loops' worth."""

    together, full = threading.Barrier(9), threading.Event()

    async def ask(connection):
        with pytest.raises(infinistore.InfiniStoreException) as caught:
            await connection.exists_batch_async(["k"])
        if caught.value.status is Status.AGAIN:
            full.set()
        return caught.value.status

    async def flood(connection):
        together.wait(60)
        return await asyncio.gather(*(ask(connection) for _ in range(128)))

    with infinistore.InfinityConnection(own_server.config()) as connection:
        own_server.process.send_signal(signal.SIGSTOP)
        with concurrent.futures.ThreadPoolExecutor(9) as executor:
            floods = [executor.submit(asyncio.run, flood(connection)) for _ in range(9)]
            assert full.wait(20)
            own_server.kill()  # the others are not told before
            statuses = {status for future in floods for status in future.result(60)}
        assert statuses == {Status.AGAIN, Status.PEER}
