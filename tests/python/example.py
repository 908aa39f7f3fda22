"""A prefill node and a decode node in a few lines: what README.md shows. Usage: example.py [PORT]"""

import asyncio
import sys

import infinistore

config = infinistore.ClientConfig(
    host_addr="127.0.0.1",
    service_port=int(sys.argv[1]) if len(sys.argv) > 1 else 22345,
    connection_type=infinistore.TYPE_AUTO,  # RDMA where there is a device, else TCP
)
BLOCK = 64 * 1024
keys = [f"llama-3/layer0/block{i}" for i in range(8)]


async def main():
    async with infinistore.InfinityConnection(config) as connection:
        slab = bytearray(b"kv" * (BLOCK // 2) * len(keys))  # or a tensor: register_mr(tensor)
        connection.register_mr(slab)
        address, _ = infinistore.address_of(slab)
        blocks = [(key, i * BLOCK) for i, key in enumerate(keys)]

        await connection.rdma_write_cache_async(blocks, BLOCK, address)
        print(await connection.match_prefix_async(keys + ["not yet"]), "blocks of the prompt are known")
        await connection.rdma_read_cache_async(blocks[:4], BLOCK, address)

        # values of any kind and length, and an answer for each key
        await connection.put_batch_async(["question", "answer"], [b"what?", memoryview(b"42")])
        buffer = bytearray(16)
        for result in await connection.get_batch_into_async(["answer", "nothing"], [buffer, bytearray(16)]):
            print(result.status.name, bytes(buffer[: result.size]))


asyncio.run(main())
