"""asyncio without sockets: there is nothing to wait for but time, so the selector sleeps."""

import asyncio
import asyncio.base_events
import asyncio.events
import time


class _Sleeper:
    """What the loop takes for a selector."""

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("deadlock: every coroutine waits for another, and none for a time")
        if timeout > 0:
            time.sleep(timeout)
        return []

    def close(self):
        pass

    def get_map(self):
        return {}


class EventLoop(asyncio.base_events.BaseEventLoop):
    """The event loop of the sandbox."""

    def __init__(self):
        super().__init__()
        self._selector = _Sleeper()

    def _process_events(self, event_list):
        pass

    def _write_to_self(self):
        pass


def install() -> None:
    asyncio.EventLoop = EventLoop
    asyncio.new_event_loop = asyncio.events.new_event_loop = EventLoop
    asyncio.run(asyncio.sleep(0))
