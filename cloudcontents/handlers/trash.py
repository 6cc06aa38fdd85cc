"""``/cloudcontents/trash``: what was deleted: list it, restore it, delete it for good."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tornado import web

from ..errors import CloudContentsError, InvalidContentError, InvalidPathError, NotFoundError
from ..namespace import Mount
from ..trash import Trashed
from .base import CloudHandler, api_path


class _TrashHandler(CloudHandler):
    async def items(self) -> tuple[list[tuple[Mount, Trashed]], list[dict[str, str]]]:
        """Everything in the trash that this server's users may see, and the buckets that could not be asked."""
        found, away = await self.ask_mounts(lambda mount: mount.trash.list())
        return [(mount, item) for mount, item in found if self.is_visible(api_path(mount, item.path))], away

    async def find(self, id: str) -> tuple[Mount, Trashed]:
        """One entry.

        Raises:
            NotFoundError: No such entry, or a hidden one.
        """
        missing: CloudContentsError = NotFoundError(f"Nothing is in the trash under the id {id}.")
        for mount in self.mounts():
            try:
                item = await mount.trash.get(id)
            except NotFoundError:
                continue
            except CloudContentsError as error:
                missing = error  # it may be there, and hinders no other
                continue
            if self.is_visible(api_path(mount, item.path)):
                return mount, item
        raise missing


class TrashHandler(_TrashHandler):
    """All of the trash."""

    @web.authenticated
    async def get(self) -> None:
        """List it: ``{"trash": [{id, path, kind, deleted, by}], "unreachable": [{path, code, message}]}``, the oldest first."""
        items, away = await self.items()
        await self.reply({"trash": [_model(mount, item) for mount, item in items], "unreachable": away})

    @web.authenticated
    async def delete(self) -> None:
        """Delete all of it for good: 204. Safe to repeat."""
        items, _ = await self.items()
        for mount in {owner.name: owner for owner, _ in items}.values():
            await mount.trash.empty([item.id for owner, item in items if owner is mount])
        self.set_status(204)
        self.finish()


class TrashEntryHandler(_TrashHandler):
    """One entry of the trash."""

    @web.authenticated
    async def delete(self, id: str) -> None:
        """Delete it for good: 204."""
        mount, _ = await self.find(id)
        await mount.trash.empty([id])
        self.set_status(204)
        self.finish()


class RestoreHandler(_TrashHandler):
    """One entry of the trash, on its way back."""

    @web.authenticated
    async def post(self, id: str) -> None:
        """Bring it back to where it was, or to the body's ``to``: ``{"path": …}``; 409 where something is there now."""
        mount, _ = await self.find(id)
        to = (await self.body_object()).get("to")
        if to is not None:
            to = self._target(to, mount)
        path = api_path(mount, await mount.trash.restore(id, to))
        self.manager.emit(data={"action": "save", "path": path})  # type: ignore[no-untyped-call]
        await self.reply({"path": path})

    def _target(self, to: object, mount: Mount) -> str:
        if not isinstance(to, str):
            raise InvalidContentError('"to" is the path to restore to; send text.')
        location = self.manager.resolve(to, read=False)
        if location.mount is not mount:
            raise InvalidPathError("A deleted file is restored in the bucket that it was deleted from; choose a path there.")
        return location.path


def _model(mount: Mount, item: Trashed) -> dict[str, Any]:
    return {**asdict(item), "path": api_path(mount, item.path)}
