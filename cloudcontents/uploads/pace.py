"""How many parts are on their way at once: more while the store takes them, fewer when it asks for less. And how fast bytes come."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from ..errors import RateLimitedError, UnavailableError

#: Parts on their way to one bucket, each in memory. Four keep an SDK's threads busy; more cost memory and bring nothing.
_LEAST, _FIRST, _MOST = 1, 2, 4

#: Seconds over which a speed is taken.
_WINDOW = 10.0


class Pace:
    """Places for parts on their way to one bucket: one more after each round without a failure, half as many after one.

    Bound to the event loop that it is first used in.
    """

    def __init__(self) -> None:
        self.width = _FIRST
        self._busy = 0
        self._good = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Take a place; waits for one. First come, first served."""
        if self._busy < self.width and not self._waiting:
            self._busy += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()
            else:
                self._waiting.remove(place)
            raise

    def leave(self, failure: Exception | None = None) -> None:
        """Give the place back, and say how it went."""
        self._busy -= 1
        if isinstance(failure, (RateLimitedError, UnavailableError)):
            self.width, self._good = max(self.width // 2, _LEAST), 0
        elif failure is None:
            self._good += 1
            if self._good >= self.width and self.width < _MOST:
                self.width, self._good = self.width + 1, 0
        while self._waiting and self._busy < self.width:
            place = self._waiting.popleft()
            if not place.done():
                self._busy += 1
                place.set_result(None)

    async def __aenter__(self) -> None:
        await self.enter()

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.leave(error if isinstance(error, Exception) else None)


class Speed:
    """Bytes per second, over the last few seconds; and `total`, all of them."""

    def __init__(self) -> None:
        self.total = 0
        self._seen: deque[tuple[float, int]] = deque()
        self._sum = 0

    def add(self, size: int) -> None:
        """Bytes have come."""
        now = time.monotonic()
        self._forget(now)
        if self._seen and now - self._seen[-1][0] < 0.1:
            self._seen[-1] = (self._seen[-1][0], self._seen[-1][1] + size)
        else:
            self._seen.append((now, size))
        self._sum += size
        self.total += size

    @property
    def bytes_per_second(self) -> float:
        """The average of the last ten seconds; 0 where nothing came."""
        now = time.monotonic()
        self._forget(now)
        if not self._seen:
            return 0.0
        return self._sum / max(now - self._seen[0][0], 0.1)

    def _forget(self, now: float) -> None:
        while self._seen and now - self._seen[0][0] > _WINDOW:
            self._sum -= self._seen.popleft()[1]
