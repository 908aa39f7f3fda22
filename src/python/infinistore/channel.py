"""The requests that one event loop has in flight on a connection.

The loop watches two descriptors; what is done is taken when one of them is readable. Nothing is ever fired into a loop
from outside, so a loop that was closed meanwhile is left in peace."""

from __future__ import annotations

import asyncio
import collections
import time
from typing import Any, Deque, Sequence

from . import _infinistore
from .errors import InfiniStoreException, Status

__all__ = ["Channel"]

#: Requests that one loop has on the wire of one connection; more wait their turn here. The library's own limit is
#: 1,024 for all loops and threads together.
IN_FLIGHT_MAX = 128


def _time_is_up(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_exception(InfiniStoreException("too many requests in flight", Status.TIMEOUT))


class Channel:
    """Belongs to the thread of its loop, but for `retire()`."""

    def __init__(self, client: _infinistore.Client, loop: asyncio.AbstractEventLoop) -> None:
        self._native = _infinistore.Channel(client)
        self._loop = loop
        self._watching_client = False
        self._retired = False
        #: in flight, the loop's side of it, and turns that were given and not yet taken
        self._count = 0
        #: calls that wait until there are fewer; while there are any, there is no room
        self._queue: Deque[asyncio.Future[None]] = collections.deque()
        #: calls that were cancelled while the library still had their memory
        self._cancelled: dict[asyncio.Future[Any], asyncio.Future[None]] = {}
        loop.add_reader(self._native.event_fd, self._on_ready)

    # ---- calls --------------------------------------------------------------------------------------

    async def call(
        self, kind: int, keys: Sequence[Any], values: Any, flags: int, timeout_ns: int
    ) -> tuple[int, Any]:
        """(status, detail), as `Client.call()`. Cancelling it takes effect when the library has let go of the memory."""
        if self._count < IN_FLIGHT_MAX:
            self._count += 1
        else:
            timeout_ns = await self._wait_for_turn(timeout_ns)
        future = self._loop.create_future()
        try:
            refused = self._native.submit(future, kind, keys, values, flags, timeout_ns)
        except BaseException:
            self._give_turn_back()
            raise
        if refused is not None:
            self._give_turn_back()
            return refused
        if not self._watching_client:
            self._loop.add_reader(self._native.client_fd, self._on_client)
            self._watching_client = True
        try:
            result: tuple[int, Any] = await future
            return result
        except asyncio.CancelledError:
            await self._wait_until_released(future)
            raise

    async def _wait_for_turn(self, timeout_ns: int) -> int:
        """Returns what is left of the timeout. The turn is counted by whoever gives it, so that nobody who asks later can take
        it first."""
        deadline_ns = time.monotonic_ns() + timeout_ns
        turn = self._loop.create_future()
        self._queue.append(turn)
        timer = self._loop.call_later(timeout_ns / 1e9, _time_is_up, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:  # cancelled in the moment in which it was given
                self._give_turn_back()
            raise
        finally:
            timer.cancel()
        return max(deadline_ns - time.monotonic_ns(), 1)

    def _give_turn_back(self) -> None:
        self._count -= 1
        self._let_others_in()
        if self._retired and self._count == 0:
            self._stop_watching()

    async def _wait_until_released(self, future: asyncio.Future[Any]) -> None:
        while future.cancelled():
            released = self._loop.create_future()
            self._cancelled[future] = released
            try:
                await released
                return
            except asyncio.CancelledError:
                if released.done() and not released.cancelled():
                    return

    # ---- from the loop ------------------------------------------------------------------------------

    def _on_client(self) -> None:
        idle = self._count == 0
        self._on_ready()
        # Nobody here waits for what this descriptor tells: let it not wake the loop for other threads' calls. Not sooner:
        # where one call follows the other, it would be put in and taken out for each.
        if idle and self._watching_client:
            self._loop.remove_reader(self._native.client_fd)
            self._watching_client = False

    def _on_ready(self) -> None:
        for future, status, detail in self._native.process():
            self._count -= 1
            if not future.done():
                future.set_result((status, detail))
            elif self._cancelled:
                released = self._cancelled.pop(future, None)
                if released is not None and not released.done():
                    released.set_result(None)
        if self._queue:
            self._let_others_in()
        if self._retired and self._count == 0:
            self._stop_watching()

    def _let_others_in(self) -> None:
        while self._queue and self._count < IN_FLIGHT_MAX:
            turn = self._queue.popleft()
            if not turn.done():
                self._count += 1
                turn.set_result(None)

    def _stop_watching(self) -> None:
        self._loop.remove_reader(self._native.event_fd)
        if self._watching_client:
            self._loop.remove_reader(self._native.client_fd)
            self._watching_client = False

    # ---- the end ------------------------------------------------------------------------------------

    def discard_if_loop_is_closed(self) -> bool:
        """Takes what is left for a loop that is no more. True: nothing is, forget this channel."""
        if not self._loop.is_closed():
            return False
        self._native.process()
        return self._native.in_flight == 0

    def retire(self) -> None:
        """The connection is closed. From any thread."""
        if self.discard_if_loop_is_closed():
            return
        try:
            current: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            current = None
        try:
            if current is self._loop:
                self._retire_here()
            else:
                self._loop.call_soon_threadsafe(self._retire_here)
        except RuntimeError:  # it was closed meanwhile
            self.discard_if_loop_is_closed()

    def _retire_here(self) -> None:
        self._retired = True
        self._on_ready()
