"""A GPU's memory, with a driver that is made up: what it is asked, and what is registered."""

from __future__ import annotations

import ctypes
import mmap
import os

import pytest

import infinistore
from conftest import address, tcp_only
from infinistore import cuda


class Driver:
    """libcuda, as far as it is called: everything from `base` on is a GPU's."""

    def __init__(self, base, status=0):
        self.base, self.status, self.asked = base, status, []

    def cuPointerGetAttribute(self, kind, attribute, pointer):
        assert attribute == 2
        if pointer.value < self.base:
            return 1
        kind._obj.value = 2
        return 0

    def cuMemGetHandleForAddressRange(self, handle, pointer, size, kind, flags):
        self.asked.append((pointer.value, size.value, kind, flags.value))
        handle._obj.value = os.open("/proc/self/exe", os.O_RDONLY)
        return self.status


class Tensor:
    is_cuda = True

    def __init__(self, place, size):
        self.data_ptr, self.numel = lambda: place, lambda: size
        self.element_size, self.is_contiguous = lambda: 1, lambda: True


@pytest.fixture
def page():
    """Stands for a GPU's memory: it is not touched."""
    memory = mmap.mmap(-1, 4 * mmap.PAGESIZE)
    return ctypes.addressof(ctypes.c_char.from_buffer(memory)), memory


def test_exported__range__is_whole_pages_and_the_descriptor_is_closed(monkeypatch, page):
    base, _ = page
    driver = Driver(base)
    monkeypatch.setattr(cuda, "_driver", lambda: driver)
    with cuda.exported(base + 100, mmap.PAGESIZE) as (fd, offset):
        assert offset == 100 and os.fstat(fd)
    assert driver.asked == [(base, 2 * mmap.PAGESIZE, 1, 0)]
    with pytest.raises(OSError):
        os.fstat(fd)


def test_exported__driver_refuses__raises(monkeypatch, page):
    monkeypatch.setattr(cuda, "_driver", lambda: Driver(page[0], status=801))
    with pytest.raises(infinistore.InfiniStoreException, match="801"):
        with cuda.exported(page[0], 1):
            pass


def test_tensor_on_a_gpu__over_tcp__raises_and_says_what_to_do(connection):
    tensor = Tensor(address(bytearray(8)), 8)
    if connection.rdma_connected:
        with pytest.raises(infinistore.InfiniStoreException, match="register_mr"):
            connection.put_batch(["k"], [tensor])
    else:
        with pytest.raises(infinistore.InfiniStoreException, match="cpu"):
            connection.put_batch(["k"], [tensor])


@tcp_only  # a device would look into the descriptor
def test_register_mr__a_gpus_memory__goes_as_a_dma_buf(monkeypatch, connection, page):
    """Over TCP such memory is known, and out of reach."""
    base, _ = page
    driver = Driver(base)
    monkeypatch.setattr(cuda, "_driver", lambda: driver)
    assert connection.register_mr(Tensor(base, 4096)) == 0
    assert len(driver.asked) == 1
    statuses = connection.put_batch(["k"], [(base, 4096)])
    assert statuses == [infinistore.Status.INVALID]


def test_no_driver__no_gpu():
    assert cuda.is_device_memory(4096) is False
