"""``/cloudcontents/conflicts``: the texts of refused saves: list them, read one, forget one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from tornado import web

from ..conflicts import Conflict
from ..errors import CloudContentsError, NotFoundError
from ..keys import split
from ..namespace import Mount
from .base import CloudHandler, api_path
from .files import content_type
from .stream import StreamHandler


class ConflictsHandler(CloudHandler):
    """All kept texts."""

    @web.authenticated
    async def get(self) -> None:
        """List the kept texts of ``path``, or all: ``{"conflicts": [{id, path, kept, by, base, …}], "unreachable": […]}``, oldest first."""
        path = self.path_argument()
        if path is None:
            found, away = await self.ask_mounts(lambda mount: mount.conflicts.list(None))
        else:
            location = self.locate(path)
            found, away = [(location.mount, conflict) for conflict in await location.mount.conflicts.list(location.path)], []
        shown = [_model(mount, conflict) for mount, conflict in found if self.is_visible(api_path(mount, conflict.path))]
        await self.reply({"conflicts": shown, "unreachable": away})


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
        missing: CloudContentsError = NotFoundError(f"No text is kept under the id {id}.")
        for mount in self.mounts():
            try:
                conflict, text = await mount.conflicts.get(id)
            except NotFoundError:
                continue
            except CloudContentsError as error:
                missing = error  # it may be there, and hinders no other
                continue
            if self.is_visible(api_path(mount, conflict.path)):
                return mount, conflict, text
        raise missing


def _model(mount: Mount, conflict: Conflict) -> dict[str, Any]:
    return {**asdict(conflict), "path": api_path(mount, conflict.path)}


async def _once(text: bytes) -> AsyncIterator[bytes]:
    yield text
