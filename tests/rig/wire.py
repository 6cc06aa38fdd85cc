"""Heads and bodies of HTTP/1.1 as they come over the wire: read only as far as needed to pass them on unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from rig.faults import Flip

BLOCK = 256 * 1024
LONGEST_HEAD = 1024 * 1024

Touch = Callable[[bytes], bytes]


@dataclass
class Head:
    """The first lines of a request or reply, as they came and as read."""

    raw: bytes
    first: str
    headers: list[tuple[str, str]]

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> Head | None:
        """The next one; None where the connection ended before it."""
        try:
            raw = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial.strip():
                raise
            return None
        first, *lines = raw.decode("latin-1").strip("\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return cls(raw, first, [(name.strip(), value.strip()) for name, _, value in pairs])

    def get(self, wanted: str) -> str:
        return next((value for name, value in self.headers if name.lower() == wanted), "")

    @property
    def status(self) -> int:
        return int(self.first.split(" ")[1])

    @property
    def keeps_alive(self) -> bool:
        said = self.get("connection").lower()
        return said == "keep-alive" if "HTTP/1.0" in self.first else "close" not in said

    @property
    def expects_continue(self) -> bool:
        return self.get("expect").lower() == "100-continue"

    def framing(self, *, of_reply_to: str | None = None) -> int | str:
        """How long its body is: a number of bytes, `chunked`, or `end` for all until the connection ends."""
        if of_reply_to is not None and (of_reply_to == "HEAD" or self.status in (204, 304)):
            return 0
        if "chunked" in self.get("transfer-encoding").lower():
            return "chunked"
        if length := self.get("content-length"):
            return int(length)
        return 0 if of_reply_to is None else "end"


class CutError(Exception):
    """The body is to end here."""


async def relay(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter | None,
    framing: int | str,
    touch: Touch = bytes,
    count: Callable[[int], None] = lambda done: None,
    cut: int | None = None,
) -> int:
    """Pass a body on, or read it away where there is no writer, and return how many bytes it had.

    Raises:
        CutError: `cut` bytes were passed on, and there would be more.
    """
    done = 0

    async def some(most: int) -> int:
        nonlocal done
        if cut is not None and done == cut:
            raise CutError
        data = await reader.read(min(most, BLOCK) if cut is None else min(most, BLOCK, cut - done))
        if data and writer is not None:
            writer.write(touch(data))
            await writer.drain()
        done += len(data)
        count(done)
        return len(data)

    async def exactly(length: int) -> None:
        while length:
            got = await some(length)
            if not got:
                raise asyncio.IncompleteReadError(b"", length)
            length -= got

    async def line() -> bytes:
        text = await reader.readuntil(b"\r\n")
        if writer is not None:
            writer.write(text)
        return text

    if framing == "end":
        while await some(BLOCK):
            pass
    elif framing == "chunked":
        while size := int((await line()).split(b";")[0], 16):
            await exactly(size)
            await line()
        while (await line()).strip():
            pass
    else:
        await exactly(int(framing))
    if writer is not None:
        await writer.drain()
    return done


def flipper(flip: Flip | None) -> Touch:
    if flip is None:
        return bytes
    at = flip.at

    def touch(data: bytes) -> bytes:
        nonlocal at
        if 0 <= at < len(data):
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        at -= len(data)
        return data

    return touch
