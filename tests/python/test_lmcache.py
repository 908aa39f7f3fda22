"""The plugin for LMCache, against a stub of LMCache's interfaces."""

from __future__ import annotations

import asyncio
import importlib
import os
import select
import signal
import sys
import threading
import types

import pytest

import infinistore
import lmcache_stub as stub
from conftest import TYPE, wait_for


@pytest.fixture(params=["new", "old"])
def flavour(request):
    stub.install(request.param)
    yield request.param
    stub.uninstall()


@pytest.fixture
def plugin(flavour):
    return importlib.import_module("infinistore.lmcache")


# ---- multi-process mode --------------------------------------------------------------------------------


def parameters(server, **more):
    config = server.config()
    device = {} if TYPE == infinistore.TYPE_TCP else {"device": config.dev_name}
    return {"host": server.host, "port": server.port, "connection_type": TYPE, **device, **more}


@pytest.fixture
def l2(plugin, server):
    config = plugin.InfiniStoreL2AdapterConfig.from_dict(parameters(server))
    arena = stub.Arena(1 << 16)
    description = types.SimpleNamespace(ptr=arena.data_ptr(), size=arena.numel(), align_bytes=1)
    adapter = plugin.InfiniStoreL2Adapter(config, l1_memory_desc=description)
    adapter.arena = arena
    yield adapter
    adapter.close()


def l2_keys(count, **more):
    return [stub.ObjectKey(bytes([i]) * 16, "meta-llama/Llama-3", 0x01000100, **more) for i in range(count)]


def objects(adapter, start, count, size=1000, fill=None):
    made = []
    for i in range(count):
        view = memoryview(adapter.arena.memory)[start + i * size : start + (i + 1) * size]
        view[:] = bytes([i + 1 if fill is None else fill]) * size
        made.append(stub.Chunk(view, (1, 1, size, 1), stub.Counter()))
    return made


def finish(fd, query):
    """As a controller does: waits for the descriptor, then asks."""
    assert select.select([fd], [], [], 20)[0], "no signal"
    assert int.from_bytes(os.read(fd, 8), "little") == 1
    result = query()
    assert result is not None
    return result


def store(adapter, keys, chunks):
    task = adapter.submit_store_task(keys, chunks)
    return finish(adapter.get_store_event_fd(), adapter.pop_completed_store_tasks)[task]


def test_l2__store_lookup_load__gives_the_bytes(l2):
    keys, chunks = l2_keys(4), objects(l2, 0, 4)
    result = store(l2, keys, chunks)
    assert result.is_successful() and int(result) == 4000
    assert l2.pop_completed_store_tasks() == {}
    task = l2.submit_lookup_and_lock_task([*keys, *l2_keys(1, cache_salt="other")], object())
    found = finish(l2.get_lookup_and_lock_event_fd(), lambda: l2.query_lookup_and_lock_result(task))
    assert found.bits == [True] * 4 + [False]
    assert l2.query_lookup_and_lock_result(task) is None  # once
    l2.submit_unlock(keys)
    targets = objects(l2, 8000, 4, fill=0)
    task = l2.submit_load_task(keys, targets)
    loaded = finish(l2.get_load_event_fd(), lambda: l2.query_load_result(task))
    assert loaded.bits == [True] * 4
    assert [bytes(target.byte_array) for target in targets] == [bytes(chunk.byte_array) for chunk in chunks]


def test_l2__memory__is_registered_as_far_as_it_stays(plugin, server):
    arena = stub.Arena(1 << 16)
    ptr = arena.data_ptr()
    for more, inside, outside in [({}, 60000, None), ({"stable_registration_size": 4096}, 4000, 5000)]:
        description = types.SimpleNamespace(ptr=ptr, size=1 << 16, **more)
        adapter = plugin.InfiniStoreL2Adapter(parameters(server), l1_memory_desc=description)
        connection = adapter._connection
        assert asyncio.run(connection.rdma_write_cache_async([("k", inside)], 10, ptr)) == 200
        if outside is not None:
            with pytest.raises(infinistore.InfiniStoreException):
                asyncio.run(connection.rdma_write_cache_async([("k", outside)], 10, ptr))
        adapter.close()
    nowhere = types.SimpleNamespace(ptr=(1 << 64) - 8, size=16)
    plugin.InfiniStoreL2Adapter(parameters(server), l1_memory_desc=nowhere).close()


def test_l2__descriptors__are_three(l2):
    assert len({l2.get_store_event_fd(), l2.get_lookup_and_lock_event_fd(), l2.get_load_event_fd()}) == 3


def test_l2__load_of_some__tells_which(l2):
    keys = l2_keys(3)
    assert store(l2, keys[:1], objects(l2, 0, 1)).is_successful()
    assert store(l2, keys[2:], objects(l2, 0, 1, size=500)).is_successful()
    task = l2.submit_load_task(keys, objects(l2, 8000, 3))
    loaded = finish(l2.get_load_event_fd(), lambda: l2.query_load_result(task))
    assert loaded.bits == [True, False, False]  # missing; of another length


def test_l2__store_again__sends_nothing_and_succeeds(l2):
    keys, chunks = l2_keys(2), objects(l2, 0, 2)
    assert int(store(l2, keys[:1], chunks[:1])) == 1000
    assert int(store(l2, keys, chunks)) == 1000


def test_l2__delete__removes(l2, server):
    keys = l2_keys(2)
    store(l2, keys, objects(l2, 0, 2))
    l2.delete(keys[:1])
    task = l2.submit_lookup_and_lock_task(keys)
    assert finish(l2.get_lookup_and_lock_event_fd(), lambda: l2.query_lookup_and_lock_result(task)).bits == [False, True]
    assert l2.events == []  # without a capacity nobody keeps accounts


def test_l2__capacity__accounts_for_what_was_stored(plugin, server):
    adapter = plugin.InfiniStoreL2Adapter(parameters(server, max_capacity_gb=1))
    adapter.arena = stub.Arena(1 << 16)
    keys = l2_keys(2)
    store(adapter, keys, objects(adapter, 0, 2))
    store(adapter, keys, objects(adapter, 0, 2))
    adapter.delete(keys)
    adapter.delete(keys)
    assert adapter.events == [("stored", keys, [1000, 1000]), ("deleted", keys, [1000, 1000])]
    adapter.close()


def test_l2__server_gone__tasks_fail_and_it_comes_back(plugin, own_server):
    adapter = plugin.InfiniStoreL2Adapter(parameters(own_server, request_timeout=5.0))
    adapter.arena = stub.Arena(1 << 16)
    keys, chunks = l2_keys(2), objects(adapter, 0, 2)
    assert adapter.report_status()["is_healthy"] is True
    own_server.kill()
    assert not store(adapter, keys, chunks).is_successful()
    task = adapter.submit_load_task(keys, chunks)
    assert finish(adapter.get_load_event_fd(), lambda: adapter.query_load_result(task)).bits == [False, False]
    assert adapter.report_status()["is_healthy"] is False
    own_server.start()
    wait_for(lambda: adapter.report_status()["is_healthy"])
    assert store(adapter, keys, chunks).is_successful()
    adapter.close()
    adapter.close()


@pytest.mark.parametrize("wrong", [{}, {"host": ""}, {"host": 7}, {"host": "h", "prot": 1}])
def test_l2_config__wrong__raises_value_error(plugin, wrong):
    with pytest.raises(ValueError):
        plugin.InfiniStoreL2AdapterConfig.from_dict(wrong)
    assert "host" in plugin.InfiniStoreL2AdapterConfig.help()


def test_l2__closed_while_a_thread_is_in_a_call__ends_its_loop_all_the_same(plugin, own_server, monkeypatch):
    """What is in flight then ends with the thread's call, for which nobody waits."""
    adapter = plugin.InfiniStoreL2Adapter(parameters(own_server, request_timeout=20.0))
    monkeypatch.setattr("infinistore._lmcache_l2._CLOSE_SECONDS", 0.1)
    own_server.process.send_signal(signal.SIGSTOP)
    thread = threading.Thread(target=adapter.delete, args=(l2_keys(1),))
    thread.start()
    wait_for(lambda: sys._current_frames()[thread.ident].f_code.co_name == "_call")
    adapter.submit_lookup_and_lock_task(l2_keys(1))
    wait_for(lambda: any(channel._native.in_flight for channel in adapter._connection._line._channels.values()))
    adapter.close()
    assert adapter._loop.is_closed() and not adapter._thread.is_alive()
    own_server.process.send_signal(signal.SIGCONT)
    thread.join()


def test_module__names_and_nothing_else(plugin):
    for name in plugin.__all__:
        assert getattr(plugin, name).__name__ == name
    with pytest.raises(AttributeError):
        plugin.Something


# ---- classic mode -----------------------------------------------------------------------------------------


def context(server, flavour, url=None, **extra):
    """What LMCache hands to an adapter."""
    query = f"?type={TYPE}&timeout=5"
    if TYPE == infinistore.TYPE_RDMA:
        query += f"&device={server.config().dev_name}"
    direct = f"ist://{server.host}:{server.port}{query}"
    extra["remote_storage_plugin.ist.a.url"] = direct
    return types.SimpleNamespace(
        url=url or direct,
        loop=asyncio.new_event_loop(),
        local_cpu_backend=stub.LocalCPUBackend(flavour),
        config=types.SimpleNamespace(extra_config=extra),
        metadata=object(),
        plugin_name="ist.a",
    )


@pytest.fixture
def remote(plugin, flavour, server):
    place = context(server, flavour)
    connector = plugin.InfiniStoreConnectorAdapter().create_connector(place)
    yield types.SimpleNamespace(connector=connector, backend=place.local_cpu_backend, run=place.loop.run_until_complete)
    place.loop.run_until_complete(connector.close())
    place.loop.close()


def engine_keys(count):
    return [stub.CacheEngineKey(f"vllm@meta-llama/Llama-3@1@0@{i:x}") for i in range(count)]


def chunk(backend, fill, shape=(1, 2, 10, 16)):
    made = backend.allocate([shape] if backend.chunk is stub.NewChunk else shape, None, None)
    made.byte_array[:] = bytes([fill]) * len(made.byte_array)
    return made


def test_adapter__urls__takes_its_own(plugin):
    adapter = plugin.InfiniStoreConnectorAdapter()
    for url in ("ist://h:1", "plugin://ist", "plugin://ist.a"):
        assert adapter.can_parse(url), url
    for url in ("infinistore://h:1", "plugin://infinistore", "plugin://istanbul", "redis://ist"):
        assert not adapter.can_parse(url), url


def test_adapter__plugin_url__finds_the_server_in_the_configuration(plugin, flavour, server):
    place = context(server, flavour, url="plugin://ist.a")
    connector = plugin.InfiniStoreConnectorAdapter().create_connector(place)
    assert place.loop.run_until_complete(connector.ping()) == 0
    place.loop.run_until_complete(connector.close())
    place.config.extra_config.clear()
    with pytest.raises(ValueError, match="ist.a.url"):
        plugin.InfiniStoreConnectorAdapter().create_connector(place)
    place.loop.close()


def test_remote__put_then_get__gives_bytes_and_shape(remote):
    connector, key = remote.connector, engine_keys(1)[0]
    assert remote.run(connector.exists(key)) is False and connector.exists_sync(key) is False
    assert remote.run(connector.get(key)) is None
    source = chunk(remote.backend, 7)
    remote.run(connector.put(key, source))
    assert remote.run(connector.exists(key)) is True and connector.exists_sync(key) is True
    got = remote.run(connector.get(key))
    assert got is not source and bytes(got.byte_array) == bytes(source.byte_array) and got.shape == source.shape
    assert connector.remove_sync(key) is True and connector.remove_sync(key) is False
    assert remote.run(connector.get(key)) is None
    assert remote.backend.references["held"] == 2


def test_remote__memory_of_lmcache__is_registered(remote):
    arena = remote.backend.memory_allocator.pin_allocator.buffer
    write = remote.connector.connection.rdma_write_cache_async([("k", 100)], 100, arena.data_ptr())
    assert remote.run(write) == 200


def test_remote__batches__with_a_hole(remote, flavour):
    connector, keys = remote.connector, engine_keys(5)
    present = [keys[i] for i in (0, 1, 3)]
    remote.run(connector.batched_put(present, [chunk(remote.backend, i + 1) for i in range(3)]))
    held = remote.backend.references["held"]
    wanted = 2 if flavour == "new" else [True, True, False, False, False]
    assert connector.batched_contains(keys) == wanted
    assert remote.run(connector.batched_async_contains("id", keys)) == 2
    got = remote.run(connector.batched_get(keys))
    assert [None if obj is None else obj.byte_array[0] for obj in got] == [1, 2, None, 3, None]
    leading = remote.run(connector.batched_get_non_blocking("id", keys))
    assert [obj.byte_array[0] for obj in leading] == [1, 2]
    assert remote.backend.references["held"] == held + 3 + 2  # what was beyond the hole was given back
    remote.backend.full = True
    assert remote.run(connector.batched_get(keys)) == [None] * 5


def test_remote__without_metadata__takes_whole_and_partial_chunks(remote, flavour):
    connector, keys = remote.connector, engine_keys(3)
    connector.save_chunk_meta = False
    whole, partial = chunk(remote.backend, 1, (1, 1, 10, 16)), chunk(remote.backend, 2, (1, 1, 3, 16))
    broken = chunk(remote.backend, 3, (1, 1, 1, 5))
    remote.run(connector.batched_put(keys, [whole, partial, broken]))
    got = remote.run(connector.batched_get(keys[:2]))
    assert [bytes(obj.byte_array) for obj in got] == [b"\1" * 160, b"\2" * 48]
    held = remote.backend.references["held"]
    assert remote.run(connector.get(keys[2])) is None
    assert remote.backend.references["held"] == held


def test_remote__one_has_nonsense_for_metadata__is_a_miss_and_keeps_no_memory(remote):
    connector, keys = remote.connector, engine_keys(3)
    remote.run(connector.batched_put(keys, [chunk(remote.backend, i + 1) for i in range(3)]))
    connector.connection.put_batch([keys[1].to_string() + "/meta"], [b"?"])
    held = remote.backend.references["held"]
    got = remote.run(connector.batched_get(keys))
    assert [None if obj is None else obj.byte_array[0] for obj in got] == [1, None, 3]
    assert remote.backend.references["held"] == held + 2


def test_remote__get_is_cancelled__keeps_no_memory(plugin, flavour, own_server):
    place = context(own_server, flavour)
    connector = plugin.InfiniStoreConnectorAdapter().create_connector(place)
    connector.save_chunk_meta = False

    async def cancelled():
        task = asyncio.ensure_future(connector.batched_get(engine_keys(2)))
        while place.local_cpu_backend.references["held"] < 2:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        own_server.process.send_signal(signal.SIGCONT)
        with pytest.raises(asyncio.CancelledError):
            await task

    own_server.process.send_signal(signal.SIGSTOP)
    place.loop.run_until_complete(cancelled())
    assert place.local_cpu_backend.references["held"] == 0
    place.loop.run_until_complete(connector.close())
    place.loop.close()


def test_remote__server_gone__everything_is_a_miss_and_it_comes_back(plugin, flavour, own_server):
    place = context(own_server, flavour)
    run, key = place.loop.run_until_complete, engine_keys(1)[0]
    connector = plugin.InfiniStoreConnectorAdapter().create_connector(place)
    source = chunk(place.local_cpu_backend, 9)
    own_server.kill()
    run(connector.put(key, source))
    assert run(connector.get(key)) is None and run(connector.exists(key)) is False
    assert connector.exists_sync(key) is False and connector.remove_sync(key) is False
    assert run(connector.ping()) != 0 and run(connector.list()) == []
    own_server.start()
    wait_for(lambda: run(connector.ping()) == 0)
    run(connector.put(key, source))
    assert bytes(run(connector.get(key)).byte_array) == bytes(source.byte_array)
    run(connector.close())
    place.loop.close()
