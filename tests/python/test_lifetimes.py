"""Nobody starves, nothing is freed too early, nothing is kept for ever: turns, memory and connections, to their ends."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import weakref

import pytest

import infinistore
from conftest import tcp_only, wait_for
from infinistore.channel import IN_FLIGHT_MAX


# ---- turns ----------------------------------------------------------------------------------------------


def test_workers__more_than_may_be_in_flight__all_get_their_turns(connection):
    """Who has waited goes before who asks again."""
    rounds = [0] * (IN_FLIGHT_MAX + 72)

    async def work(number):
        while min(rounds) < 3:
            assert await connection.exists_batch_async(["k"], timeout=60) == [False]
            rounds[number] += 1

    async def run():
        await asyncio.gather(*(work(number) for number in range(len(rounds))))

    asyncio.run(run())
    # In turns: nobody was served a multiple of what others were.
    assert max(rounds) <= 10, rounds


def test_turn__of_a_call_that_is_wrong__goes_to_the_next(own_server):
    async def run(connection):
        flood = [asyncio.ensure_future(connection.exists_batch_async(["k"])) for _ in range(IN_FLIGHT_MAX)]
        await asyncio.sleep(0)
        wrong = [asyncio.ensure_future(connection.exists_batch_async([1])) for _ in range(IN_FLIGHT_MAX)]
        await asyncio.sleep(0)
        right = asyncio.ensure_future(connection.exists_batch_async(["k"], timeout=60))
        await asyncio.sleep(0)
        os.kill(own_server.process.pid, signal.SIGCONT)
        results = await asyncio.gather(*flood, *wrong, return_exceptions=True)
        assert results[:IN_FLIGHT_MAX] == [[False]] * IN_FLIGHT_MAX
        assert all(isinstance(result, TypeError) for result in results[IN_FLIGHT_MAX:])
        assert await asyncio.wait_for(right, 30) == [False]

    with infinistore.InfinityConnection(own_server.config()) as connection:
        own_server.process.send_signal(signal.SIGSTOP)
        asyncio.run(run(connection))


def test_close__while_a_thread_is_in_a_call__no_loop_begins_to_watch(own_server):
    """Nobody would tell that loop that the connection is closed, and it would watch to its end."""
    connection = infinistore.InfinityConnection(own_server.config())
    connection.connect()
    line, answers = connection._line, []

    async def begin():
        with pytest.raises(infinistore.InfiniStoreException, match="not connected"):
            line.channel()

    own_server.process.send_signal(signal.SIGSTOP)
    thread = threading.Thread(target=lambda: answers.append(connection.check_exist("k")))
    thread.start()
    wait_for(lambda: sys._current_frames()[thread.ident].f_code.co_name == "_call")
    connection.close()
    asyncio.run(begin())
    own_server.process.send_signal(signal.SIGCONT)
    thread.join()


# ---- memory ---------------------------------------------------------------------------------------------


class Tensor:
    """What is used of torch's."""

    def __init__(self, data):
        self._memory = ctypes.create_string_buffer(data, len(data))

    def is_contiguous(self):
        return True

    def data_ptr(self):
        return ctypes.addressof(self._memory)

    def numel(self):
        return len(self._memory)

    def element_size(self):
        return 1

    def bytes(self):
        return self._memory.raw


class MadeWhenAsked:
    """A sequence whose items are new ones each time, as slices of a tensor that are made contiguous."""

    def __init__(self, data):
        self._data = data
        self.alive = weakref.WeakSet()

    def __len__(self):
        return len(self._data)

    def __getitem__(self, i):
        tensor = Tensor(self._data[i])
        self.alive.add(tensor)
        return tensor


@tcp_only
def test_tensors__made_when_asked_for__stay_until_they_are_sent(connection):
    data = [os.urandom(40_000) for _ in range(20)]
    keys = [f"k{i}" for i in range(len(data))]
    values = MadeWhenAsked(data)
    assert set(connection.put_batch(keys, values)) == {infinistore.Status.OK}
    assert [bytes(connection.tcp_read_cache(key)) for key in keys] == data
    connection.purge()
    assert set(asyncio.run(connection.put_batch_async(keys, values))) == {infinistore.Status.OK}
    assert [bytes(connection.tcp_read_cache(key)) for key in keys] == data
    gc.collect()
    assert not values.alive


@tcp_only
def test_tensors__whose_loop_and_list_are_gone__stay_while_a_get_may_write_them(own_server):
    """What the library has been given is not freed before it is done with it, whatever becomes of who asked."""
    connection = infinistore.InfinityConnection(own_server.config(request_timeout=20))
    connection.connect()
    connection.put_batch(["k"], [b"v" * 5000])
    own_server.process.send_signal(signal.SIGSTOP)
    loop = asyncio.new_event_loop()
    tensors = [Tensor(b"\0" * 5000)]
    alive = weakref.ref(tensors[0])
    task = loop.create_task(connection.get_batch_into_async(["k"], tensors))
    loop.run_until_complete(asyncio.sleep(0.01))
    task._log_destroy_pending = False
    loop.close()
    del task
    tensors.clear()
    gc.collect()
    assert alive() is not None
    own_server.process.send_signal(signal.SIGCONT)
    assert connection.check_exist("k")  # its thread does the work of the loop that is gone
    assert alive().bytes() == b"v" * 5000
    connection.close()
    gc.collect()
    assert alive() is None


def test_address_of__arrays_of_any_type__is_where_they_lie():
    numpy = pytest.importorskip("numpy")
    for dtype in ("complex64", [("a", "<i4"), ("b", "<f8")], "<f2", ">i4", "S3"):
        array = numpy.zeros((3, 5), dtype=dtype)
        assert infinistore.address_of(array) == (array.ctypes.data, array.nbytes)
    whole = numpy.zeros((4, 6), dtype="<f4")
    for wrong in (whole[:, ::2], whole.T, numpy.zeros((0, 3)), numpy.frombuffer(b"fixed", dtype="u1")):
        with pytest.raises(infinistore.InfiniStoreException):
            infinistore.address_of(wrong)


# ---- processes ------------------------------------------------------------------------------------------

FORKS = """
import asyncio, os, sys, infinistore
host, port = sys.argv[1:]
connection = infinistore.InfinityConnection(infinistore.ClientConfig(
    host_addr=host, service_port=int(port), connection_type=infinistore.TYPE_TCP))
connection.connect()
loop = asyncio.new_event_loop()
loop.run_until_complete(connection.exists_batch_async(["k"]))
child = os.fork()
if child == 0:
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
answer = connection.exists_batch_async(["k"], timeout=60)
print(loop.run_until_complete(asyncio.wait_for(answer, 20)))
"""


@tcp_only
def test_fork__child_that_ends_like_a_program__leaves_the_parents_connection_alone(server):
    """All that the child has inherited is torn down there. The parent must hear of its answer by its loop, not by the
    deadline."""
    command = [sys.executable, "-c", FORKS, server.host, str(server.port)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (result.stdout, result.stderr) == ("[False]\n", "")
