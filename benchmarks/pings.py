"""How long everybody else waits: GET /api/status every 50 ms, from a process of its own, over connections opened beforehand.

Beforehand, since a blocked server's backlog overflows, and what is measured then is how long the kernel waits to knock again.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from types import TracebackType

EVERY = 0.05
CONNECTIONS = 48


class Pings:
    """A context: pings from enter to exit; then `seconds` holds how long each took.

    Args:
        port: Of the server on this machine.
        token: To be let in.
    """

    def __init__(self, port: int, token: str) -> None:
        self.seconds: list[float] = []
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(port), token], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._line()  # its connections are open

    def __enter__(self) -> Pings:
        self._tell("start")
        self._line()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._tell("stop")
        self.seconds = json.loads(self._line())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the pinging process has ended")
        return line


class _Pinger:
    def __init__(self, port: int, token: str) -> None:
        self.port = port
        request = f"GET /api/status HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: token {token}\r\n\r\n"
        self.request = request.encode()
        self.free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def open(self) -> None:
        for _ in range(CONNECTIONS):
            self.free.append(await asyncio.open_connection("127.0.0.1", self.port))
            await self.ask(*self.free[-1])

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert b" 200 " in head, head
        await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))

    async def run(self, stop: asyncio.Event) -> list[float]:
        took: list[float] = []
        asked: set[asyncio.Task[None]] = set()

        async def one() -> None:
            connection = self.free.pop()
            begun = time.perf_counter()
            await self.ask(*connection)
            took.append(time.perf_counter() - begun)
            self.free.append(connection)

        due = time.perf_counter()
        while not stop.is_set():
            if self.free:
                task = asyncio.create_task(one())
                asked.add(task)
                task.add_done_callback(asked.discard)
            due += EVERY
            try:
                await asyncio.wait_for(stop.wait(), max(0.0, due - time.perf_counter()))
            except asyncio.TimeoutError:
                continue
        await asyncio.gather(*asked)
        return took


async def _main(port: int, token: str) -> None:
    loop = asyncio.get_running_loop()
    pinger = _Pinger(port, token)
    await pinger.open()
    print(flush=True)
    while (await loop.run_in_executor(None, sys.stdin.readline)).strip() == "start":
        stop = asyncio.Event()
        work = asyncio.create_task(pinger.run(stop))
        print(flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
        stop.set()
        print(json.dumps(await work), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2]))
