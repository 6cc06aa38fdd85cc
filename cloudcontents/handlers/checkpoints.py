"""``/cloudcontents/checkpoints/<id>``: what the Contents API has no word for: look into a checkpoint, and name it."""

from __future__ import annotations

from tornado import web

from ..checkpoints import BucketCheckpoints
from ..errors import InvalidContentError, UnsupportedError
from ..keys import split
from .base import CloudHandler
from .files import content_type
from .stream import StreamHandler


class CheckpointHandler(CloudHandler):
    """One checkpoint of the query's ``path``."""

    @web.authenticated
    async def patch(self, id: str) -> None:
        """Give it the name in the body's ``name``, its id from then on: ``{"id", "last_modified"}``."""
        path = self.required_path()
        self.locate(path)
        name = (await self.body_object()).get("name")
        if not isinstance(name, str):
            raise InvalidContentError('"name" is the new name of the checkpoint; send text.')
        await self.reply(await _checkpoints(self).name_checkpoint(id, name, path))


class CheckpointContentHandler(StreamHandler):
    """What a checkpoint of the query's ``path`` holds."""

    @web.authenticated
    async def get(self, id: str) -> None:
        """Send the bytes as a download of the file's own name."""
        path = self.required_path()
        location = self.locate(path)
        async with await _checkpoints(self).open_checkpoint(id, path) as reader:
            name = split(location.path)[1]
            self.set_type(content_type(name))
            self.set_header("Content-Length", str(reader.length))
            self.set_header("Cache-Control", "no-cache")
            self.set_attachment_header(name)
            await self.stream(reader.__aiter__())


def _checkpoints(handler: CloudHandler) -> BucketCheckpoints:
    checkpoints = handler.manager.checkpoints
    if not isinstance(checkpoints, BucketCheckpoints):
        raise UnsupportedError("This server keeps its checkpoints elsewhere; only BucketCheckpoints can be looked into and named.")
    return checkpoints
