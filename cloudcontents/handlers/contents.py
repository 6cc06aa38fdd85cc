"""The server's own Contents API with one thing changed: an answer of megabytes is written as JSON in a thread.

A directory of 10,000 entries is 3 MB of JSON. The server's handler makes it on the event loop, and everybody else waits meanwhile.
Checks, verbs and status codes are the server's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any, cast

from jupyter_client.jsonutil import json_default
from jupyter_server.services.contents.handlers import ContentsHandler, default_handlers

#: Entries of a directory from which a thread is worth its while.
_MANY = 500

#: Bytes of a file's content, likewise; a notebook's size is told by its object's.
_LARGE = 256 * 1024


class OffloadingContentsHandler(ContentsHandler):
    """The server's handler; large models come and leave through a thread."""

    _parsed: Any = None

    async def put(self, path: str = "") -> None:
        """The server's own, with a large body read as JSON beforehand."""
        if self.current_user is not None and len(self.request.body) > _LARGE:
            self._parsed = await asyncio.to_thread(super().get_json_body)
        await cast(Awaitable[None], super().put(path))

    def get_json_body(self) -> Any:
        """The body's JSON, read once."""
        return super().get_json_body() if self._parsed is None else self._parsed

    def _finish_model(self, model: dict[str, Any], location: bool = True) -> None:
        if not _is_large(model):
            super()._finish_model(model, location=location)
            return
        self._auto_finish = False  # the verb returns before the answer is ready
        self._answer = asyncio.ensure_future(self._finish_large(model, location))

    async def _finish_large(self, model: dict[str, Any], location: bool) -> None:
        try:
            text = await asyncio.to_thread(json.dumps, model, default=json_default)
            if self.request.connection is None:
                return
            if location:
                self.set_header("Location", self.location_url(model["path"]))
            self.set_header("Last-Modified", model["last_modified"])
            self.set_header("Content-Type", "application/json")
            await self.finish(text)
        except Exception as error:
            self.log.error("Could not answer with the model of %s", model.get("path"), exc_info=True)
            if not self._finished:
                self.send_error(500, exc_info=(type(error), error, error.__traceback__))


def contents_routes() -> list[tuple[str, type]]:
    """The server's routes of the Contents API, in their order, with the one handler replaced.

    Routes of an extension come first, and the pattern of a path matches all below it: so the others come along.
    """
    return [
        (pattern, OffloadingContentsHandler if handler is ContentsHandler else handler)
        for pattern, handler in default_handlers
        if pattern.startswith("/api/contents")
    ]


def _is_large(model: dict[str, Any]) -> bool:
    content = model.get("content")
    if isinstance(content, list):
        return len(content) > _MANY
    return content is not None and (model.get("size") or 0) > _LARGE
