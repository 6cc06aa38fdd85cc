"""Take the body of a request as a stream: checked before a byte is read, never whole in memory, no faster than the store takes it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from tornado.web import stream_request_body

from ..errors import InvalidContentError
from .base import CloudHandler

#: Bytes that wait between the socket and whoever takes them.
_HELD = 1 << 20

#: More than any store takes: the limit of the engine is what counts, told as an error of its own.
_ANY_SIZE = 1 << 62


class BodyCutError(InvalidContentError):
    """The connection ended before the body did."""

    code = "body_cut"


class Body:
    """The bytes of a request's body as they come: an async iterator, fed by the connection."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = self._cut = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def feed(self, piece: bytes) -> bool:
        """The connection has a piece; returns whether there is room for more. If not, `room` tells when."""
        self._pieces.append(piece)
        self._size += len(piece)
        self._changed.set()
        if self._size < _HELD:
            return True
        self._room.clear()
        return False

    async def room(self) -> None:
        """Wait for room."""
        await self._room.wait()

    def end(self, *, cut: bool = False) -> None:
        """Nothing more comes; `cut` where more should have. Safe to repeat: the first word counts."""
        if not self._ended:
            self._ended, self._cut = True, cut
            self._changed.set()

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self._ended

    def drain(self) -> None:
        """Nobody takes the bytes any more: let the connection go on."""
        self._pieces.clear()
        self._size = 0
        self._room.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._size -= len(piece)
                if self._size < _HELD:
                    self._room.set()
                yield piece
            if self._ended:
                if self._cut:
                    raise BodyCutError("The connection was cut; what had arrived is kept.")
                return
            self._changed.clear()
            await self._changed.wait()


@stream_request_body
class ReceivingHandler(CloudHandler):
    """A route that takes bodies of any size. `begin` decides, before a byte is read, what takes them.

    The user, the authorizer and the XSRF token are checked in `prepare`, as on every route of ours.
    """

    _taking: asyncio.Task[Any] | None = None
    _body: Body | None = None
    _received = b""

    #: Bytes of a body that nothing takes as a stream: JSON.
    _MOST_JSON = 1 << 20

    async def prepare(self) -> None:  # type: ignore[override]
        """Check who asks; then let `begin` say what becomes of the body."""
        connection = self.request.connection
        if connection is not None:
            connection.set_max_body_size(_ANY_SIZE)  # type: ignore[attr-defined]
        await super().prepare()
        if not self._finished:
            await self.begin(*self.path_args)

    async def begin(self, *args: str) -> None:
        """Look at the headers; call `take` where the body is to be streamed. Raise to refuse it unread."""

    def _over(self, task: asyncio.Task[Any]) -> None:
        """A failure is told at once: the rest of the body need not come, and where the client hangs it does not come."""
        if self.body.ended:
            return  # the verb is waiting for the result
        self.body.drain()
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            self._refuse(error)

    @property
    def body(self) -> Body:
        """The body, for whoever takes it."""
        if self._body is None:
            self._body = Body()
        return self._body

    @property
    def has_body(self) -> bool:
        """Whether the client sends one."""
        headers = self.request.headers
        return headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers

    def take(self, work: Coroutine[Any, Any, Any]) -> None:
        """Begin what takes the body; its result is asked for by `taken`."""
        self._body = self.body
        self._taking = asyncio.ensure_future(work)
        self._taking.add_done_callback(self._over)

    async def taken(self) -> Any:
        """The result of what took the body, now that it is all here."""
        self.body.end()
        assert self._taking is not None  # noqa: S101 - a verb that asks has begun it
        return await self._taking

    @property
    def is_taking(self) -> bool:
        """Whether something takes the body as a stream."""
        return self._taking is not None

    async def data_received(self, chunk: bytes) -> None:
        """The next bytes of the body."""
        if self._taking is None:
            self._received += chunk
            if len(self._received) > self._MOST_JSON:
                self._refuse(InvalidContentError("The body of this request is a small JSON object."))
            return
        self.mark_activity()
        if self.body.feed(chunk) and not self._taking.done():
            return
        waiting = asyncio.ensure_future(self.body.room())
        await asyncio.wait({waiting, self._taking}, return_when=asyncio.FIRST_COMPLETED)
        if self._taking.done():
            self.body.drain()
        await waiting

    def _refuse(self, error: BaseException) -> None:
        if not self._finished:
            try:
                raise error  # tornado asks what is being handled
            except BaseException as handled:
                self._handle_request_exception(handled)

    def mark_activity(self) -> None:
        """Bytes are coming in: the server is not idle, though no request has ended."""
        update = getattr(self, "update_api_activity", None)
        if update is not None:
            update()

    def on_connection_close(self) -> None:
        """The client is gone; what came is kept."""
        super().on_connection_close()
        if self._body is not None:
            self._body.end(cut=True)
        if self._taking is not None:
            self._taking.add_done_callback(_seen)

    async def body_object(self) -> dict[str, Any]:
        """The request's JSON object."""
        self.request.body = self._received
        return await super().body_object()


def _seen(task: asyncio.Task[Any]) -> None:
    """Nobody is left to be told of a failure; the bytes before it are in safety."""
    if not task.cancelled():
        task.exception()
