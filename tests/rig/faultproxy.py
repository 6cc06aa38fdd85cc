"""A proxy that understands HTTP and does what Toxiproxy cannot: error replies, lost replies, cut or altered bodies; it counts requests.

It passes everything on as it came, the Host header too, so that signatures hold, and streams bodies.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import secrets
import socket
import struct
import threading
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from rig.faults import Answer, Delay, Fault, Flip, LoseReply, Request, Truncate, Which, error_reply
from rig.toxiproxy import Upstream
from rig.wire import LONGEST_HEAD, CutError, Head, flipper, relay

F = TypeVar("F", Answer, LoseReply, Truncate, Flip, Delay)


class FaultProxy:
    """A fault proxy before a server or another proxy, in a thread of its own. A context manager.

    Every fault takes the same words for which requests it strikes: `method`, `path` (a regular expression that is searched in path and
    query), `nth` (the n-th of those, from 1), `share` (how many of those, by the seed) and `times` (at most so many). A request may be
    struck by several.

    Attributes:
        url: What to give to the SDK in place of the server's.
        endpoint: Scheme, host and port of it.
        dialect: The server's, by which errors are worded.
        seed: Of every `share`; printed, so that a failed test tells it.
    """

    def __init__(self, upstream: Upstream, *, seed: int | None = None) -> None:
        self._upstream = upstream
        self._address = (urlsplit(upstream.endpoint).hostname, urlsplit(upstream.endpoint).port)
        self.dialect = upstream.dialect
        self.seed = secrets.randbits(32) if seed is None else seed
        self._lock = threading.Lock()
        self._rules: list[tuple[Fault, Which]] = []
        self._rules_made = 0
        self._requests: list[Request] = []
        self._loop = asyncio.new_event_loop()
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self.endpoint = self.url = ""

    def __enter__(self) -> FaultProxy:
        print(f"fault proxy with seed {self.seed}")
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy")
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(60)
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.url = self.endpoint + urlsplit(self._upstream.url).path
        self._upstream.advertise(self.endpoint)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it; its connections break. Safe to repeat."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        with contextlib.suppress(OSError):
            self._upstream.advertise(self._upstream.endpoint)

    def advertise(self, endpoint: str) -> None:
        """Make the server behind it name this end point in its replies."""
        self._upstream.advertise(endpoint)

    # --- faults ---------------------------------------------------------------------------------------------------------

    def answer(
        self,
        status: int,
        code: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        message: str = "from the fault proxy",
        done: bool = False,
        method: str | None = None,
        path: str = "",
        nth: int | None = None,
        share: float = 1.0,
        times: int | None = None,
        credential: str | None = None,
        after: int = 0,
    ) -> None:
        """Answer with this status and the store's kind of error body; the server is not asked. A 200 has the error body too.

        `code` is the store's name of the error (`SlowDown`, `ExpiredToken`), by default the usual one of this status; `message` its words.
        With `done` the server is asked, and does what it should, before it is answered so. With `credential` only requests are struck
        whose head holds that text: the id of an access key, a token, a signature; `after` so many of them went free.
        """
        self._add(Answer(status, code, headers or {}, done, message), Which(method, path, nth, share, times, credential, after=after))

    def lose_reply(
        self, *, method: str | None = None, path: str = "", nth: int | None = None, share: float = 1.0, times: int | None = None
    ) -> None:
        """Let the server do what was asked, then reset the connection in place of its reply."""
        self._add(LoseReply(), Which(method, path, nth, share, times))

    def truncate(
        self,
        at: int,
        *,
        reset: bool = False,
        method: str | None = None,
        path: str = "",
        nth: int | None = None,
        share: float = 1.0,
        times: int | None = None,
    ) -> None:
        """End the connection in good order, or with a `reset`, after `at` bytes of the reply's body; its head promised all of it."""
        self._add(Truncate(at, reset), Which(method, path, nth, share, times))

    def flip(
        self,
        at: int = 0,
        *,
        request: bool = False,
        method: str | None = None,
        path: str = "",
        nth: int | None = None,
        share: float = 1.0,
        times: int | None = None,
    ) -> None:
        """Invert one bit of the byte at this offset of the reply's body, or the `request`'s.

        Offsets count what is within HTTP's own chunks. The chunks that S3 signs (`aws-chunked`) are part of the body.
        """
        self._add(Flip(at, request), Which(method, path, nth, share, times))

    def delay(
        self,
        seconds: float,
        *,
        method: str | None = None,
        path: str = "",
        nth: int | None = None,
        share: float = 1.0,
        times: int | None = None,
    ) -> None:
        """Wait so long before a request is passed on (or answered); other connections do not wait."""
        self._add(Delay(seconds), Which(method, path, nth, share, times))

    def heal(self) -> None:
        """No faults from now on."""
        with self._lock:
            self._rules.clear()

    def _add(self, fault: Fault, which: Which) -> None:
        with self._lock:
            which.dice = random.Random(f"{self.seed}:{self._rules_made}")
            self._rules_made += 1
            self._rules.append((fault, which))

    # --- what was asked -------------------------------------------------------------------------------------------------

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in the order of their arrival."""
        with self._lock:
            return list(self._requests)

    def count(self, method: str | None = None, path: str = "") -> int:
        """How many requests there were, of this method, whose path and query this regular expression is found in."""
        return sum((method is None or found.method == method) and bool(re.search(path, found.target)) for found in self.requests)

    def forget(self) -> None:
        """Count from zero."""
        with self._lock:
            self._requests.clear()

    # --- the proxy ------------------------------------------------------------------------------------------------------

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LONGEST_HEAD)

    async def _end(self) -> None:
        self._server.close()
        under_way = dict(self._connections)
        for task, connection in under_way.items():
            connection.abort()
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        for connection in under_way.values():
            await connection.closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = self._connections[task] = _Connection(self, reader, writer)
        try:
            while await connection.one():
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError, asyncio.LimitOverrunError):
            # One of the two is gone, or the proxy ends: nobody is left to be told.
            pass
        finally:
            connection.close()
            del self._connections[task]

    def _arrived(self, request: Request, raw: bytes) -> list[Fault]:
        with self._lock:
            self._requests.append(request)
            faults = [fault for fault, which in self._rules if which.strikes(request, raw)]
        request.fault = ",".join(fault.name for fault in faults)
        return faults


class _Connection:
    """One client's connection, and one to the server that serves it."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy, self._reader, self._writer = proxy, reader, writer
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._writers = [writer]

    def close(self) -> None:
        self._writer.close()
        self._leave_server()

    def abort(self) -> None:
        """Break both connections now, whatever is still to be sent."""
        self._writer.transport.abort()
        if self._server is not None:
            self._server[1].transport.abort()

    async def closed(self) -> None:
        """Wait until both are."""
        for writer in self._writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def one(self) -> bool:
        """One request and its reply; whether another may follow on this connection."""
        head = await Head.read(self._reader)
        if head is None:
            return False
        method, target, _ = head.first.split(" ", 2)
        request = Request.read(method, target, head.headers)
        faults = self._proxy._arrived(request, head.raw)
        if delay := _first(faults, Delay):
            await asyncio.sleep(delay.seconds)
        if (answer := _first(faults, Answer)) and not answer.done:
            return await self._answer(head, request, answer)
        return await self._forward(head, request, faults)

    async def _answer(self, head: Head, request: Request, answer: Answer) -> bool:
        if head.expects_continue:
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.sent = await relay(self._reader, None, head.framing())
        request.status = answer.status
        self._writer.write(error_reply(self._proxy.dialect, answer, request.method))
        await self._writer.drain()
        return head.keeps_alive

    async def _forward(self, head: Head, request: Request, faults: list[Fault]) -> bool:
        reader, writer = await self._reach_server()
        request.forwarded = True
        writer.write(head.raw)
        flip = _first(faults, Flip, lambda fault: fault.request)
        body = asyncio.ensure_future(self._send_body(head, request, writer, flip))
        try:
            while True:
                reply = await Head.read(reader)
                if reply is None:
                    self._leave_server()
                    _reset(self._writer)
                    return False
                if reply.status >= 200:
                    break
                self._writer.write(reply.raw)
            again = await self._reply(request, reply, reader, faults)
            whole = body.done() and body.exception() is None
            return again and whole and head.keeps_alive and reply.keeps_alive
        finally:
            body.cancel()
            await asyncio.wait([body])
            if not body.cancelled():
                # Whatever became of the request's body, the reply (or its lack) has told the client.
                body.exception()

    async def _send_body(self, head: Head, request: Request, writer: asyncio.StreamWriter, flip: Flip | None) -> None:
        def count(sent: int) -> None:
            request.sent = sent

        await relay(self._reader, writer, head.framing(), flipper(flip), count)

    async def _reply(self, request: Request, reply: Head, reader: asyncio.StreamReader, faults: list[Fault]) -> bool:
        framing = reply.framing(of_reply_to=request.method)
        if _first(faults, LoseReply):
            # The server has done its work when its reply is whole.
            await relay(reader, None, framing)
            self._leave_server()
            _reset(self._writer)
            return False
        if answer := _first(faults, Answer):
            await relay(reader, None, framing)
            request.status = answer.status
            self._writer.write(error_reply(self._proxy.dialect, answer, request.method))
            await self._writer.drain()
            return framing != "end"
        request.status = reply.status

        def count(received: int) -> None:
            request.received = received

        truncate = _first(faults, Truncate)
        self._writer.write(reply.raw)
        flip = _first(faults, Flip, lambda fault: not fault.request)
        try:
            await relay(reader, self._writer, framing, flipper(flip), count, truncate.at if truncate else None)
        except CutError:
            assert truncate is not None
            self._leave_server()
            await self._writer.drain()
            if truncate.reset:
                _reset(self._writer)
            return False
        return framing != "end"

    async def _reach_server(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._server is not None and (self._server[0].at_eof() or self._server[1].is_closing()):
            self._leave_server()
        if self._server is None:
            try:
                self._server = await asyncio.open_connection(*self._proxy._address, limit=LONGEST_HEAD)
            except OSError:
                _reset(self._writer)
                raise
            self._writers = [self._writer, self._server[1]]
        return self._server

    def _leave_server(self) -> None:
        if self._server is not None:
            self._server[1].close()
            self._server = None


def _first(faults: list[Fault], kind: type[F], matches: Callable[[F], bool] = lambda fault: True) -> F | None:
    return next((fault for fault in faults if isinstance(fault, kind) and matches(fault)), None)


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset: what is not sent yet is dropped, and the other side sees an error."""
    connection = writer.get_extra_info("socket")
    if connection is not None and not writer.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
