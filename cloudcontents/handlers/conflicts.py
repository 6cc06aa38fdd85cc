"""``/cloudcontents/conflicts``: the texts of refused saves: list them, read one, forget one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from tornado import web

from ..conflicts import Conflict
from ..errors import NotFoundError
from ..keys import split
from ..namespace import Mount
from .base import CloudHandler, api_path
from .files import content_type
from .stream import StreamHandler


class ConflictsHandler(CloudHandler):
    """All kept texts."""

    @web.authenticated
    async def get(self) -> None:
        """List the kept texts of ``path``, or all: ``{"conflicts": [{id, path, kept, by, base, …}]}``, the oldest first."""
        path = self.path_argument()
        if path is None:
            asked: list[tuple[Mount, str | None]] = [(mount, None) for mount in self.mounts()]
        else:
            location = self.locate(path)
            asked = [(location.mount, location.path)]
        found = [(mount, conflict) for mount, within in asked for conflict in await mount.conflicts.list(within)]
        await self.reply({"conflicts": [_model(m, c) for m, c in found if self.is_visible(api_path(m, c.path))]})


class ConflictHandler(StreamHandler):
    """One kept text."""

    @web.authenticated
    async def get(self, id: str) -> None:
        """Send the text as a download, byte for byte as it would have been saved; with ``info=1`` what is known of it, as JSON."""
        mount, conflict, text = await self._find(id)
        if self.get_query_argument("info", None):
            await self.reply(_model(mount, conflict))
            return
        name = split(conflict.path)[1]
        self.set_type(content_type(name))
        self.set_header("Content-Length", str(len(text)))
        self.set_header("Cache-Control", "no-store")
        self.set_attachment_header(name)
        await self.stream(_once(text))

    @web.authenticated
    async def delete(self, id: str) -> None:
        """Forget the text: 204."""
        mount, _, _ = await self._find(id)
        await mount.conflicts.delete(id)
        self.set_status(204)
        self.finish()

    async def _find(self, id: str) -> tuple[Mount, Conflict, bytes]:
        for mount in self.mounts():
            try:
                conflict, text = await mount.conflicts.get(id)
            except NotFoundError:
                continue
            if self.is_visible(api_path(mount, conflict.path)):
                return mount, conflict, text
        raise NotFoundError(f"No text is kept under the id {id}.")


def _model(mount: Mount, conflict: Conflict) -> dict[str, Any]:
    return {**asdict(conflict), "path": api_path(mount, conflict.path)}


async def _once(text: bytes) -> AsyncIterator[bytes]:
    yield text
