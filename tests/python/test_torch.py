"""Real tensors, where torch is installed."""

from __future__ import annotations

import asyncio
import importlib.util
import sys

import pytest

import infinistore

if importlib.util.find_spec("torch"):  # it is large: no test of its own, not even a skipped one, where it is not
    import torch

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.uint8])
    def test_tensors__of_every_type__go_and_come(connection, dtype, monkeypatch):
        source, target = (torch.randn(4096) * 10).to(dtype), torch.zeros(4096, dtype=dtype)
        size = source.numel() * source.element_size()
        assert connection.put_batch(["t"], [source]) == [infinistore.Status.OK]
        assert connection.get_batch_into(["t"], [target]) == [(infinistore.Status.OK, size)]
        assert torch.equal(source, target)
        connection.register_mr(source)
        connection.register_mr(target.data_ptr(), size)

        async def blocks():
            half = size // 2
            await connection.rdma_write_cache_async([("a", 0), ("b", half)], half, source.data_ptr())
            await connection.rdma_read_cache_async([("b", 0)], half, target.data_ptr())

        asyncio.run(blocks())
        assert torch.equal(target[:2048], source[2048:])
        assert torch.equal(torch.frombuffer(connection.tcp_read_cache("t"), dtype=dtype), source)
        monkeypatch.setitem(sys.modules, "numpy", None)
        assert torch.equal(torch.frombuffer(connection.tcp_read_cache("t"), dtype=dtype), source)

    def test_tensor__with_gaps__raises(connection):
        with pytest.raises(infinistore.InfiniStoreException, match="contiguous"):
            connection.put_batch(["t"], [torch.zeros(4, 4).t()])
