"""A GPU's memory for RDMA: its driver exports a range as a dma-buf, which the network adapter registers."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
from contextlib import contextmanager
from typing import Any, Iterator

from .errors import InfiniStoreException

__all__ = ["is_device_memory", "exported"]

# cuda.h: CUmemRangeHandleType, CUpointer_attribute, CUmemorytype
_DMA_BUF_FD = 1
_ATTRIBUTE_MEMORY_TYPE = 2
_MEMORY_TYPE_DEVICE = 2


@functools.lru_cache(maxsize=1)
def _driver() -> Any:
    """libcuda, or None on a machine without a GPU."""
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


def is_device_memory(address: int) -> bool:
    """Does the address belong to a GPU? False where there is none."""
    driver = _driver()
    if driver is None:
        return False
    kind = ctypes.c_uint(0)
    status = driver.cuPointerGetAttribute(ctypes.byref(kind), _ATTRIBUTE_MEMORY_TYPE, ctypes.c_uint64(address))
    return status == 0 and kind.value == _MEMORY_TYPE_DEVICE


@contextmanager
def exported(address: int, size: int) -> Iterator[tuple[int, int]]:
    """(descriptor, offset of the range in it), for as long as the context lasts. The driver exports whole pages."""
    begin = address & ~(mmap.PAGESIZE - 1)
    end = (address + size + mmap.PAGESIZE - 1) & ~(mmap.PAGESIZE - 1)
    fd = ctypes.c_int(-1)
    status = _driver().cuMemGetHandleForAddressRange(
        ctypes.byref(fd), ctypes.c_uint64(begin), ctypes.c_size_t(end - begin), _DMA_BUF_FD, ctypes.c_uint64(0)
    )
    if status != 0:
        raise InfiniStoreException(f"the GPU's driver does not export this memory: CUresult {status}")
    try:
        yield fd.value, address - begin
    finally:
        os.close(fd.value)
