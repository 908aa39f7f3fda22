"""rdma_write_cache_async, rdma_read_cache_async and register_mr, as they work over any connection."""

from __future__ import annotations

import asyncio
import random

import pytest

import infinistore
from conftest import address, new_key


def run(coroutine):
    return asyncio.run(coroutine)


def test_write_then_read__blocks__gives_the_bytes_and_200(connection):
    size, count = 4096, 10
    source = bytearray(random.Random(1).randbytes(size * count))
    target = bytearray(size * count)
    assert connection.register_mr(address(source), len(source)) == 0
    assert connection.register_mr(address(target), len(target)) == 0
    blocks = [(new_key(), i * size) for i in range(count)]

    async def both():
        assert await connection.rdma_write_cache_async(blocks, size, address(source)) == 200
        assert await connection.rdma_read_cache_async(blocks, size, address(target)) == 200

    run(both())
    assert source == target


def test_read__larger_block_than_value__leaves_the_tail(connection):
    target = bytearray(b"\xee" * 100)
    connection.put_batch(["k"], [b"value"])
    connection.register_mr(address(target), 100)
    run(connection.rdma_read_cache_async([("k", 10)], 90, address(target)))
    assert target == b"\xee" * 10 + b"value" + b"\xee" * 85


def test_read__a_key_is_missing__raises_key_not_found_and_delivers_the_others(connection):
    target = bytearray(30)
    connection.put_batch(["a", "c"], [b"A" * 10, b"C" * 10])
    connection.register_mr(address(target), 30)
    with pytest.raises(infinistore.InfiniStoreKeyNotFound):
        run(connection.rdma_read_cache_async([("a", 0), ("b", 10), ("c", 20)], 10, address(target)))
    assert target == b"A" * 10 + bytes(10) + b"C" * 10


def test_read__buffer_too_small__raises_but_not_key_not_found(connection):
    target = bytearray(8)
    connection.put_batch(["k"], [b"nine bytes"])
    connection.register_mr(address(target), 8)
    with pytest.raises(infinistore.InfiniStoreException) as caught:
        run(connection.rdma_read_cache_async([("k", 0)], 8, address(target)))
    assert not isinstance(caught.value, infinistore.InfiniStoreKeyNotFound)
    assert caught.value.status is infinistore.Status.TOO_SMALL
    assert target == bytes(8)


def test_read__one_is_missing_and_another_too_long__raises_key_not_found(connection):
    target = bytearray(8)
    connection.put_batch(["long"], [b"nine bytes"])
    connection.register_mr(address(target), 8)
    with pytest.raises(infinistore.InfiniStoreKeyNotFound):
        run(connection.rdma_read_cache_async([("long", 0), ("nobody", 0)], 8, address(target)))


def test_register_mr__inside_again_overlapping__is_good(connection):
    slab = bytearray(64 << 10)
    base = address(slab)
    assert connection.register_mr(base, 8192) == 0
    assert connection.register_mr(base, 8192) == 0
    assert connection.register_mr(base + 4096, 16384) == 0
    assert connection.register_mr(base + 40000, 100) == 0
    write = connection.rdma_write_cache_async
    assert connection.register_mr(base + 5000, 10) == 0  # inside, and shorter
    assert run(write([("k", 5000)], 9000, base + 13)) == 200
    assert run(write([("k", 0)], 100, base + 40000)) == 200
    for offset, size in [(20480, 1), (20479, 2), (39999, 2), (40050, 51), (1 << 40, 1)]:
        with pytest.raises(infinistore.InfiniStoreException, match="register memory first"):
            run(write([("k", 0), ("other", offset)], size, base))
    assert connection.check_exist("other") is False


def test_unregister_mr__as_often_as_registered__then_it_is_unknown(connection):
    slab = bytearray(8192)
    base = address(slab)
    write = connection.rdma_write_cache_async
    for size in (8192, 8192, 4096):
        connection.register_mr(base, size)
    assert connection.unregister_mr(base, 8192) == 0
    assert run(write([("k", 4096)], 4096, base)) == 200
    assert connection.unregister_mr(slab) == 0
    with pytest.raises(infinistore.InfiniStoreException, match="register memory first"):
        run(write([("k", 4096)], 4096, base))
    assert run(write([("k", 0)], 4096, base)) == 200
    for wrong in [(base, 8192), (base + 1, 4096), (0, 8), (-1, 8)]:
        with pytest.raises(infinistore.InfiniStoreException) as caught:
            connection.unregister_mr(*wrong)
        assert not isinstance(caught.value, infinistore.InfiniStoreKeyNotFound)


@pytest.mark.parametrize("region", [(0, 8), (4096, 0), ((1 << 64) - 8, 16), (-4096, 8)])
def test_register_mr__nonsense__raises(connection, region):
    with pytest.raises(infinistore.InfiniStoreException):
        connection.register_mr(*region)


def test_register_mr__objects__takes_address_and_size_from_them(connection):
    numpy = pytest.importorskip("numpy")
    array, buffer = numpy.zeros(100, dtype=numpy.float32), bytearray(100)
    assert connection.register_mr(array) == 0 and connection.register_mr(buffer) == 0
    assert run(connection.rdma_write_cache_async([("a", 0)], 400, array.ctypes.data)) == 200
    assert run(connection.rdma_write_cache_async([("b", 0)], 100, address(buffer))) == 200
    with pytest.raises(infinistore.InfiniStoreException):
        connection.register_mr(b"read-only")


def test_blocks__any_iterable_and_numpy_numbers__are_good(connection):
    numpy = pytest.importorskip("numpy")
    slab = bytearray(1024)
    connection.register_mr(address(slab), 1024)
    blocks = ([f"k{i}", numpy.int64(i * 16)] for i in range(4))
    assert run(connection.rdma_write_cache_async(blocks, numpy.int32(16), numpy.uint64(address(slab)))) == 200
    assert connection.exists_batch(["k0", "k3", "k4"]) == [True, True, False]


def test_blocks__nonsense__raises_and_leaves_the_connection_alone(connection):
    slab = bytearray(1024)
    connection.register_mr(address(slab), 1024)
    for blocks, size in [([], 8), ([("k",)], 8), ([("k", "0")], 8), ([(None, 0)], 8), ([("k", 0)], 0), ([("", 0)], 8)]:
        with pytest.raises(Exception):
            run(connection.rdma_write_cache_async(blocks, size, address(slab)))
    connection.ping()


def test_many__gathered__all_arrive(connection):
    """More than a connection has on the wire at a time."""
    size, count = 1000, 3000
    source = bytearray(random.Random(2).randbytes(size * 16))
    target = bytearray(size * 16)
    connection.register_mr(address(source), len(source))
    connection.register_mr(address(target), len(target))

    async def everything():
        write, read = connection.rdma_write_cache_async, connection.rdma_read_cache_async
        writes = [write([(f"k{i}", i % 16 * size)], size, address(source)) for i in range(count)]
        assert await asyncio.gather(*writes) == [200] * count
        reads = [read([(f"k{i}", i % 16 * size)], size, address(target)) for i in range(count)]
        assert await asyncio.gather(*reads) == [200] * count

    run(everything())
    assert source == target
    assert all(connection.exists_batch([f"k{i}" for i in range(count)]))


def test_one_connection__several_loops_one_after_the_other__works(connection):
    buffer = bytearray(b"x" * 64)
    connection.register_mr(address(buffer), 64)
    for i in range(20):
        assert run(connection.rdma_write_cache_async([(f"k{i}", 0)], 64, address(buffer))) == 200
    assert len(connection._line._channels) == 1  # those of closed loops are forgotten


def test_connect_async__works(server):
    async def both():
        connection = infinistore.InfinityConnection(server.config())
        await connection.connect_async()
        assert await connection.exists_batch_async(["k"]) == [False]
        connection.close()
        async with infinistore.InfinityConnection(server.config()) as other:
            assert await other.match_prefix_async(["k"]) == 0

    run(both())
