"""Send pieces to a client as they come, in bounded memory; and break the connection, rather than end it well, when they end early."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import AsyncIterator

import anyio
from jupyter_server.base.handlers import APIHandler
from tornado.iostream import StreamClosedError

from .base import CloudHandler

#: Bytes handed to the socket at once.
PIECE = 1 << 20


class StreamHandler(CloudHandler):
    """A route that sends content which somebody else may have written: streamed, and confined by a sandbox in the browser."""

    page = True

    _scope: anyio.CancelScope | None = None
    _begun = False
    _gone = False

    @property
    def content_security_policy(self) -> str:
        """Scripts of served pages run in an origin of their own, never in the server's."""
        return super(APIHandler, self).content_security_policy + "; sandbox allow-scripts"

    def set_type(self, value: str) -> None:
        """Set the content type of the body."""
        self._content_type = value
        self.set_header("Content-Type", value)

    async def stream(self, pieces: AsyncIterator[bytes]) -> None:
        """Send pieces and end the response; each piece is drawn only when the one before is on its way.

        A failure before the first byte is raised, and so answered with its own status. A later one breaks the connection, so that no
        client takes a part for the whole. A client that goes away stops the reading. `pieces` is closed in any case.
        """
        try:
            with anyio.CancelScope() as self._scope:
                if self._gone:
                    return
                try:
                    await self._send(await anext(pieces, b""))
                    async for piece in pieces:
                        await self._send(piece)
                    self.finish()
                except StreamClosedError:
                    pass
                except Exception as error:
                    if not self._begun:
                        raise
                    self.log_exception(type(error), error, error.__traceback__)
                    self._break()
        finally:
            self._scope = None
            if hasattr(pieces, "aclose"):
                with anyio.CancelScope(shield=True):
                    await pieces.aclose()

    async def send_headers(self) -> None:
        """Send the headers alone and end the response: the answer to HEAD."""
        with contextlib.suppress(StreamClosedError):
            await self.flush()
            self.finish()

    def on_connection_close(self) -> None:
        """Stop reading from the store: nobody listens any more."""
        super().on_connection_close()
        self._gone = True
        if self._scope is not None:
            self._scope.cancel()

    async def _send(self, piece: bytes) -> None:
        self._begun = True
        for at in range(0, max(len(piece), 1), PIECE):
            self.write(piece if len(piece) <= PIECE else piece[at : at + PIECE])
            await self.flush()

    def _break(self) -> None:
        stream = self.detach()
        # A reset, not an orderly end: for a client or proxy of HTTP/1.0 the end of the connection is the end of the body.
        with contextlib.suppress(OSError):
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.close()
