"""InfiniStore's own surface: names, arguments, return values, exceptions."""

from __future__ import annotations

import asyncio
import inspect

import pytest

import infinistore
from conftest import address, new_key, tcp_only

NAMES = """InfinityConnection register_server ClientConfig ServerConfig TYPE_RDMA TYPE_TCP Logger LINK_ETHERNET
LINK_IB purge_kv_map get_kvmap_len InfiniStoreException InfiniStoreKeyNotFound evict_cache""".split()

PARAMETERS = {
    "connect": [],
    "connect_async": [],
    "close": [],
    "tcp_read_cache": ["key"],
    "tcp_write_cache": ["key", "ptr", "size"],
    "rdma_write_cache_async": ["blocks", "block_size", "ptr"],
    "rdma_read_cache_async": ["blocks", "block_size", "ptr"],
    "check_exist": ["key"],
    "get_match_last_index": ["keys"],
    "register_mr": ["arg", "size"],
    "delete_keys": ["keys"],
    "resolve_hostname": ["hostname"],
}


def test_module__has_every_name_of_the_original():
    for name in NAMES:
        assert name in infinistore.__all__
        assert getattr(infinistore, name) is getattr(infinistore.lib, name)
    assert (infinistore.TYPE_RDMA, infinistore.TYPE_TCP) == ("RDMA", "TCP")
    assert (infinistore.LINK_ETHERNET, infinistore.LINK_IB) == ("Ethernet", "IB")
    assert issubclass(infinistore.InfiniStoreKeyNotFound, infinistore.InfiniStoreException)


@pytest.mark.parametrize("method", PARAMETERS)
def test_connection__method__takes_the_originals_arguments(method):
    function = getattr(infinistore.InfinityConnection, method)
    parameters = inspect.signature(function).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    assert positional == PARAMETERS[method]
    assert inspect.iscoroutinefunction(function) == method.endswith("_async")


def test_client_config__defaults__are_the_originals(monkeypatch):
    monkeypatch.delenv("INFINISTORE_LOG_LEVEL", raising=False)
    monkeypatch.delenv("INFINISTORE_CONNECTION_TYPE", raising=False)
    config = infinistore.ClientConfig()
    assert (config.connection_type, config.host_addr, config.service_port) == (None, None, None)
    assert (config.dev_name, config.ib_port, config.link_type) == ("mlx5_1", 1, "IB")
    assert (config.log_level, config.hint_gid_index) == ("warning", -1)
    assert "mlx5_1" in repr(config)


def test_client_config__environment__goes_before_arguments(monkeypatch):
    monkeypatch.setenv("INFINISTORE_LOG_LEVEL", "debug")
    assert infinistore.ClientConfig(log_level="error").log_level == "debug"


@tcp_only
def test_connect__type_in_the_environment__goes_before_the_code(server, monkeypatch):
    """AIBrix asks the config which of its own ways to take: that it says what the code said matters."""
    monkeypatch.setenv("INFINISTORE_CONNECTION_TYPE", "TCP")
    config = server.config()
    config.connection_type = infinistore.TYPE_RDMA
    with infinistore.InfinityConnection(config) as connection:
        assert config.connection_type == infinistore.TYPE_RDMA and connection.rdma_connected is False
        connection.ping()
    monkeypatch.setenv("INFINISTORE_CONNECTION_TYPE", "carrier pigeon")
    with pytest.raises(infinistore.InfiniStoreException):
        infinistore.InfinityConnection(config)


@pytest.mark.parametrize(
    "wrong",
    [
        {"connection_type": None},
        {"connection_type": "carrier pigeon"},
        {"host_addr": ""},
        {"host_addr": None},
        {"service_port": 0},
        {"log_level": "loud"},
        {"ib_port": 0},
        {"connection_type": "RDMA", "link_type": "string"},
        {"request_timeout": 0},
    ],
)
def test_client_config__wrong_attribute__verify_raises(wrong):
    config = infinistore.ClientConfig(host_addr="127.0.0.1", service_port=1, connection_type="TCP")
    config.verify()
    for name, value in wrong.items():
        setattr(config, name, value)
    with pytest.raises(Exception):
        config.verify()
    with pytest.raises(infinistore.InfiniStoreException):
        infinistore.InfinityConnection(config)


def test_server_config__defaults_and_verify__are_the_originals():
    config = infinistore.ServerConfig(service_port=1, manage_port=2)
    assert (config.prealloc_size, config.minimal_allocate_size, config.auto_increase) == (16, 64, False)
    assert (config.evict_min_threshold, config.evict_max_threshold, config.evict_interval) == (0.6, 0.8, 5)
    config.verify()
    for name, value in [("service_port", 0), ("manage_port", 0), ("log_level", "x"), ("minimal_allocate_size", 8)]:
        wrong = infinistore.ServerConfig(service_port=1, manage_port=2)
        setattr(wrong, name, value)
        with pytest.raises(Exception):
            wrong.verify()


def test_logger__level__is_that_of_the_config(server, capfd):
    infinistore.InfinityConnection(server.config(log_level="info"))
    infinistore.Logger.info("for the curious")
    infinistore.InfinityConnection(server.config(log_level="error"))
    infinistore.Logger.warn("for nobody")
    infinistore.Logger.error({"any": "object"})
    infinistore.Logger.set_log_level("no such level")
    infinistore.Logger.debug("for nobody")
    said = capfd.readouterr().err
    assert "for the curious" in said and "{'any': 'object'}" in said and "for nobody" not in said


# ---- values over TCP ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 28 + 13, 4096, 65536, 65537, 3 << 20])
def test_tcp__write_then_read__gives_exactly_the_bytes(connection, size):
    source = bytearray(i * 31 % 251 for i in range(min(size, 4096))) * (size // min(size, 4096) + 1)
    del source[size:]
    key = new_key()
    assert connection.tcp_write_cache(key, address(source), size) is None
    value = connection.tcp_read_cache(key)
    assert len(value) == size and bytes(value) == bytes(source)
    value[0] ^= 255  # it is the caller's


def test_tcp_read_cache__without_numpy__is_a_writable_buffer(connection, monkeypatch):
    import sys

    connection.put_batch(["k"], [b"abc"])
    numpy = pytest.importorskip("numpy")
    assert isinstance(connection.tcp_read_cache("k"), numpy.ndarray)
    monkeypatch.setitem(sys.modules, "numpy", None)
    value = connection.tcp_read_cache("k")
    assert isinstance(value, bytearray) and value == b"abc"


def test_tcp_read_cache__sizes_that_go_up_and_down__are_exact(connection):
    sizes = [10, 5 << 20, 1, 70000, 65536, 20 << 20, 4096]
    for size in sizes:
        connection.put_batch([str(size)], [bytes([size % 251]) * size])
    for size in sizes + sizes[::-1]:
        value = connection.tcp_read_cache(str(size))
        assert len(value) == size and value[0] == value[-1] == size % 251


def test_tcp_write_cache__overwrites(connection):
    for text in (b"first", b"second, longer", b"3"):
        source = bytearray(text)
        connection.tcp_write_cache("k", address(source), len(source))
        assert bytes(connection.tcp_read_cache("k")) == text


def test_tcp__wrong_arguments__raise(connection):
    buffer = bytearray(8)
    for key, pointer, size in [("", address(buffer), 8), ("k", 0, 8), ("k", address(buffer), 0)]:
        with pytest.raises(infinistore.InfiniStoreException):
            connection.tcp_write_cache(key, pointer, size)
    with pytest.raises(infinistore.InfiniStoreException):
        connection.tcp_write_cache("k" * 1025, address(buffer), 8)
    with pytest.raises(TypeError):
        connection.tcp_write_cache(7, address(buffer), 8)
    with pytest.raises(infinistore.InfiniStoreKeyNotFound):
        connection.tcp_read_cache("nobody")


@pytest.mark.parametrize(
    "key", ["vllm@meta-llama/Llama-3@1@0@-1a2b", "100%/%00", "schlüssel/鍵/🗝", " ", "k" * 1024, b"\xff\x00bytes"]
)
def test_keys__of_any_kind__are_told_apart(connection, key):
    others = ["other", "k" * 1023]
    connection.put_batch([key, *others], [b"mine", b"theirs", b"theirs"])
    assert bytes(connection.tcp_read_cache(key)) == b"mine"
    assert connection.check_exist(key) is True
    assert connection.delete_keys([key]) == 1
    assert connection.check_exist(key) is False and connection.check_exist(others[0])


# ---- keys ----------------------------------------------------------------------------------------------


def test_get_match_last_index__is_the_last_that_is_there_or_raises(connection):
    connection.put_batch(["key1", "key2", "key3"], [b"1", b"2", b"3"])
    assert connection.get_match_last_index(["A", "B", "C", "key1", "D", "E"]) == 3
    assert connection.get_match_last_index(["key1", "hole", "key3"]) == 2
    with pytest.raises(Exception, match="can't find a match"):
        connection.get_match_last_index(["A", "B"])
    with pytest.raises(Exception, match="can't find a match"):
        connection.get_match_last_index([])


def test_delete_keys__returns_how_many_were_there(connection):
    connection.put_batch(["a", "b", "c"], [b"1", b"2", b"3"])
    assert connection.delete_keys(["a", "c", "nobody"]) == 2
    assert [connection.check_exist(key) for key in "abc"] == [False, True, False]
    assert connection.delete_keys([]) == 0


# ---- life ----------------------------------------------------------------------------------------------


def test_connect__in_a_constructor_without_a_loop__works(server):
    class Connector:
        def __init__(self):
            self.connection = infinistore.InfinityConnection(server.config())
            self.connection.connect()

    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert Connector().connection.check_exist("k") is False


@tcp_only
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_connect__name_or_address__works(server, host):
    with infinistore.InfinityConnection(server.config(host_addr=host)) as connection:
        connection.ping()


@tcp_only
def test_connect__ipv6_literal__works():
    from conftest import Server

    server = Server(host="::1")
    try:
        for literal in ("::1", "[::1]"):
            with infinistore.InfinityConnection(server.config(host_addr=literal)) as connection:
                connection.ping()
    finally:
        server.stop()


def test_connect__nobody_there__raises_and_says_where(server):
    from conftest import free_ports

    (port,) = free_ports(1)
    connection = infinistore.InfinityConnection(server.config(service_port=port))
    with pytest.raises(infinistore.InfiniStoreException, match=str(port)):
        connection.connect()
    with pytest.raises(infinistore.InfiniStoreException, match="not connected"):
        connection.check_exist("k")
    connection.close()


def test_close__again_and_from_del__is_harmless(server):
    connection = infinistore.InfinityConnection(server.config())
    connection.close()
    connection.connect()
    connection.close()
    connection.close()
    with pytest.raises(infinistore.InfiniStoreException):
        connection.tcp_read_cache("k")
    connection.connect()
    native = connection.conn
    del connection
    assert native.closed


@tcp_only
def test_auto__without_a_device__uses_tcp_and_says_so(server, capfd):
    with infinistore.InfinityConnection(server.config(connection_type="AUTO")) as connection:
        assert connection.rdma_connected is False
        connection.ping()
    assert "TCP" in capfd.readouterr().err


@tcp_only
def test_rdma__without_a_device__raises_and_says_why(server):
    with pytest.raises(infinistore.InfiniStoreException, match="RDMA") as caught:
        infinistore.InfinityConnection(server.config(connection_type="RDMA")).connect()
    assert caught.value.status is infinistore.Status.DEVICE


def test_resolve_hostname__name__is_an_address():
    assert infinistore.InfinityConnection.resolve_hostname("127.0.0.1") == "127.0.0.1"
    with pytest.raises(Exception, match="Failed to resolve"):
        infinistore.InfinityConnection.resolve_hostname("no.such.host.invalid")
