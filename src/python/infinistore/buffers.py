"""From what callers hand over (buffers, numpy arrays, torch tensors, pairs of numbers) to memory."""

from __future__ import annotations

import ctypes
from typing import Any, Sequence

from .errors import InfiniStoreException

__all__ = ["as_values", "address_of", "as_array"]


def _tensor_span(tensor: Any) -> tuple[int, int]:
    if not tensor.is_contiguous():
        raise InfiniStoreException("a tensor must be contiguous")
    return tensor.data_ptr(), tensor.numel() * tensor.element_size()


def as_values(values: Sequence[Any]) -> tuple[list[Any], bool]:
    """What the C side takes: buffers as they are, tensors as (address, bytes, tensor), which keeps them; and whether any is
    in the memory of a GPU."""
    items, on_device = [], False
    for value in values:
        if hasattr(value, "data_ptr"):
            on_device = on_device or bool(getattr(value, "is_cuda", False))
            value = (*_tensor_span(value), value)
        items.append(value)
    return items, on_device


def address_of(memory: Any) -> tuple[int, int]:
    """(address, bytes) of a tensor, an array or a writable buffer."""
    if hasattr(memory, "data_ptr"):
        return _tensor_span(memory)
    view = memoryview(memory)
    if not view.c_contiguous:
        raise InfiniStoreException("an array must be contiguous")
    if view.readonly:
        raise InfiniStoreException("read-only memory cannot be registered")
    if view.nbytes == 0:
        raise InfiniStoreException("size is 0")
    return ctypes.addressof(ctypes.c_char.from_buffer(memory)), view.nbytes


def as_array(buffer: bytearray) -> Any:
    """A numpy array of bytes on the same memory, or the buffer itself where there is no numpy."""
    try:
        import numpy
    except ImportError:
        return buffer
    return numpy.frombuffer(buffer, dtype=numpy.uint8)
