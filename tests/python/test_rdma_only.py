"""What only a connection over RDMA shows. Runs below ci/rxe/run, on a real kernel's soft-RoCE."""

from __future__ import annotations

import asyncio
import ctypes
import mmap

import pytest

import infinistore
from conftest import Server, address, rdma_only, wait_for

pytestmark = rdma_only


def sessions(connection):
    """TCP, RDMA; each of the latter has one of the former as its sign of life."""
    figures = connection.stat()
    return [int(figures[f'infinistore_sessions{{transport="{name}"}}']) for name in ("tcp", "rdma")]


def test_rdma__is_used_for_registered_memory_and_tcp_beside_it_for_the_rest(own_server):
    slab = bytearray(1 << 20)
    with infinistore.InfinityConnection(own_server.config()) as connection:
        assert connection.rdma_connected is True
        connection.register_mr(slab)
        asyncio.run(connection.rdma_write_cache_async([("k", 0)], len(slab), address(slab)))
        assert connection.put_batch(["a"], [slab]) == [infinistore.Status.OK]
        assert sessions(connection) == [1, 1]
        assert connection.put_batch(["b"], [b"not registered"]) == [infinistore.Status.OK]
        assert bytes(connection.tcp_read_cache("b")) == b"not registered"
        assert sessions(connection) == [2, 1]
        target = bytearray(14)
        results = asyncio.run(connection.get_batch_into_async(["b"], [target]))
        assert results[0].ok and target == b"not registered"
        assert sessions(connection) == [2, 1]
    assert connection.rdma_connected is False


def test_rdma__connect_again__raises_as_the_original(own_server):
    with infinistore.InfinityConnection(own_server.config()) as connection:
        with pytest.raises(infinistore.InfiniStoreException, match="Already connected"):
            connection.connect()


def test_rdma__adjoining_ranges__are_two(own_server):
    slab = bytearray(8192)
    base = address(slab)
    with infinistore.InfinityConnection(own_server.config()) as connection:
        connection.register_mr(base, 4096)
        connection.register_mr(base + 4096, 4096)
        with pytest.raises(infinistore.InfiniStoreException, match="register memory first"):
            asyncio.run(connection.rdma_write_cache_async([("k", 0)], 8192, base))


def test_rdma__memory_that_is_not_there__cannot_be_registered(own_server):
    hole = mmap.mmap(-1, 1 << 20)
    place = ctypes.addressof(ctypes.c_char.from_buffer(hole))
    with infinistore.InfinityConnection(own_server.config()) as connection:
        with pytest.raises(infinistore.InfiniStoreException) as caught:
            connection.register_mr(place + (64 << 20 << 20), 4096)
        assert caught.value.status is infinistore.Status.INVALID
        assert connection.register_mr(place, 1 << 20) == 0
        assert connection.unregister_mr(place, 1 << 20) == 0
        with pytest.raises(infinistore.InfiniStoreException):
            connection.unregister_mr(place, 1 << 20)
        with pytest.raises(infinistore.InfiniStoreException, match="register memory first"):
            asyncio.run(connection.rdma_write_cache_async([("k", 0)], 100, place))


def test_auto__device_and_server_with_rdma__uses_it(own_server):
    with infinistore.InfinityConnection(own_server.config(connection_type="AUTO")) as connection:
        assert connection.rdma_connected is True


def test_auto__server_without_rdma__falls_back_and_comes_to_rdma_later(capfd):
    """A line says so; what was registered meanwhile moves by RDMA when the server has it."""
    server = Server("--dev-name=none")
    slab = bytearray(4096)
    try:
        with infinistore.InfinityConnection(server.config(connection_type="AUTO")) as connection:
            assert connection.rdma_connected is False
            assert "TCP" in capfd.readouterr().err
            connection.register_mr(slab)
            asyncio.run(connection.rdma_write_cache_async([("k", 0)], 4096, address(slab)))
            server.kill()
            server.options = server.options[:1]
            server.start()

            def works():
                try:
                    return connection.ping() is None
                except infinistore.InfiniStoreException:
                    return False

            wait_for(works)
            assert connection.rdma_connected is True
            assert asyncio.run(connection.rdma_write_cache_async([("k", 0)], 4096, address(slab))) == 200
    finally:
        server.stop()


def test_rdma__restart__values_of_any_memory_go_their_ways_again(own_server):
    slab = bytearray(4096)
    with infinistore.InfinityConnection(own_server.config()) as connection:
        connection.register_mr(slab)
        connection.put_batch(["a"], [b"not registered"])
        own_server.kill()
        own_server.start()

        def put(value):
            try:
                return connection.put_batch(["k"], [value])
            except infinistore.InfiniStoreException as error:
                assert error.status is infinistore.Status.PEER
                return None

        for value in (b"not registered", slab):
            assert wait_for(lambda: put(value)) == [infinistore.Status.OK]
        assert connection.rdma_connected is True
        assert bytes(connection.tcp_read_cache("k")) == bytes(slab)


def lose(connection, server):
    """The server is another one, and the connection has noticed that the first is gone."""

    def is_lost():
        try:
            connection.ping(timeout=1)
        except infinistore.InfiniStoreException:
            pass
        return connection.conn.incarnation == 0

    server.kill()
    wait_for(is_lost)
    server.start()


def test_auto__that_has_noticed_a_loss__values_of_any_memory_go_their_ways_again(own_server):
    """While it is not connected nobody knows by what it will be."""
    slab = bytearray(4096)
    with infinistore.InfinityConnection(own_server.config(connection_type="AUTO")) as connection:
        connection.register_mr(slab)
        lose(connection, own_server)
        assert connection.put_batch(["a"], [b"not registered"]) == [infinistore.Status.OK]
        assert bytes(connection.tcp_read_cache("a")) == b"not registered"
        assert connection.put_batch(["b"], [slab]) == [infinistore.Status.OK]
        assert connection.rdma_connected is True


class DeviceTensor:
    """One of torch's that says it is a GPU's."""

    is_cuda = True

    def __init__(self, memory):
        self._memory = memory

    def is_contiguous(self):
        return True

    def data_ptr(self):
        return address(self._memory)

    def numel(self):
        return len(self._memory)

    def element_size(self):
        return 1


@pytest.mark.parametrize("connection_type", ["RDMA", "AUTO"])
def test_tensor_of_a_gpu__after_a_loss__connects_again(own_server, connection_type):
    """Nobody else may come by who does."""
    tensor = DeviceTensor(bytearray(4096))
    with infinistore.InfinityConnection(own_server.config(connection_type=connection_type)) as connection:
        connection.register_mr(tensor)
        assert connection.put_batch(["a"], [tensor]) == [infinistore.Status.OK]
        lose(connection, own_server)
        assert connection.put_batch(["a"], [tensor]) == [infinistore.Status.OK]
        with pytest.raises(infinistore.InfiniStoreException, match="register_mr"):
            connection.put_batch(["a"], [DeviceTensor(bytearray(4096))])
