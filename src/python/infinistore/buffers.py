"""From what callers hand over (buffers, numpy arrays, torch tensors, pairs of numbers) to memory."""

from __future__ import annotations

import ctypes
from typing import Any, Sequence

from .errors import InfiniStoreException

__all__ = ["as_values", "address_of", "as_array"]


def _tensor_span(tensor: Any, on_device: bool) -> tuple[int, int]:
    if not tensor.is_contiguous():
        raise InfiniStoreException("a tensor must be contiguous")
    if not on_device and getattr(tensor, "is_cuda", False):
        raise InfiniStoreException("a tensor in the memory of a GPU needs an RDMA connection; here use tensor.cpu()")
    return tensor.data_ptr(), tensor.numel() * tensor.element_size()


def as_values(values: Sequence[Any], on_device: bool) -> list[Any]:
    """What the C side takes: buffers as they are, tensors as pairs (address, bytes).

    on_device: the connection reaches a GPU's memory."""
    return [_tensor_span(value, on_device) if hasattr(value, "data_ptr") else value for value in values]


def address_of(memory: Any, on_device: bool) -> tuple[int, int]:
    """(address, bytes) of a tensor, an array or a writable buffer."""
    if hasattr(memory, "data_ptr"):
        return _tensor_span(memory, on_device)
    view = memoryview(memory).cast("B")
    if view.readonly:
        raise InfiniStoreException("read-only memory cannot be registered")
    if view.nbytes == 0:
        raise InfiniStoreException("size is 0")
    return ctypes.addressof(ctypes.c_char.from_buffer(view)), view.nbytes


def as_array(buffer: bytearray) -> Any:
    """A numpy array of bytes on the same memory, or the buffer itself where there is no numpy."""
    try:
        import numpy
    except ImportError:
        return buffer
    return numpy.frombuffer(buffer, dtype=numpy.uint8)
