"""``/cloudcontents/uploads``: one resource, in the dialect that the request's headers speak; and JSON beside them."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from dataclasses import asdict
from typing import Any, cast

import anyio
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.utils import url_path_join
from tornado import web

from .. import bases
from ..backends.interface import ALWAYS, IfVersion, When
from ..errors import InvalidContentError, UploadGoneError, WrongOffsetError
from ..uploads.recovered import RecoveredFiles
from ..uploads.status import UploadStatus
from . import cross_origin
from .base import CloudHandler, api_path
from .draft import Draft
from .receive import ReceivingHandler
from .tus import VERSION, Tus

#: Bytes of a part that is sent by number; it is held in memory.
_MOST_PART = 256 << 20


class UploadsHandler(ReceivingHandler):
    """Begin an upload, and list those under way."""

    _kept: dict[str, str]
    _created: UploadStatus
    #: Whether the request is in the IETF's draft: neither tus nor JSON.
    _speaks_draft = False

    def initialize(self) -> None:
        """Nothing is kept yet."""
        self._kept = {}

    # --- what both resources need ---------------------------------------------------------------------------------------------

    @property
    def owner(self) -> str | None:
        """Whose uploads these are, where users have names."""
        return bases.user_name()

    @property
    def tus(self) -> Tus:
        """This request, as tus."""
        return Tus(self)

    @property
    def speaks_tus(self) -> bool:
        """Whether the request says so."""
        return "Tus-Resumable" in self.request.headers

    @property
    def draft(self) -> Draft:
        """This request, in the IETF's draft."""
        return Draft(self)

    @property
    def verb(self) -> str:
        """The method, or what a client behind a proxy that knows few methods means by its POST."""
        override = self.request.headers.get("X-HTTP-Method-Override", "").upper()
        method = self.request.method or ""
        return override if method == "POST" and override in ("PATCH", "DELETE", "HEAD") else method

    def address(self, id: str) -> str:
        """The path of an upload: right behind every proxy."""
        return url_path_join(self.base_url, "cloudcontents/uploads", id)

    def keep_header(self, name: str, value: str) -> None:
        """Set a header that an error's answer has, too."""
        self._kept[name] = value
        self.set_header(name, value)

    def refuse_ended(self, status: UploadStatus) -> None:
        """Raise where an upload has ended without a file.

        Raises:
            UploadGoneError: It has.
        """
        if status.state not in ("active", "completing", "complete"):
            raise UploadGoneError(f"This upload was {status.state}; upload the file again.")

    def set_default_headers(self) -> None:
        """In tus each answer says the version."""
        super().set_default_headers()
        if "Tus-Resumable" in self.request.headers:
            self.set_header("Tus-Resumable", VERSION)

    def set_cors_headers(self) -> None:
        """As on every route; a page of another origin that is let in also gets the headers of a protocol, in errors too."""
        super().set_cors_headers()
        for name, value in cross_origin.granted(self.request.headers.get("Origin"), self._headers).items():
            self.keep_header(name, value)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """As on every route; the headers of a protocol stay, since clients go on by them."""
        error = kwargs.get("exc_info", (None, None))[1]
        for name, value in self._kept.items():
            self.set_header(name, value)
        if isinstance(error, WrongOffsetError):
            self.set_header("Upload-Offset", str(error.offset))
        if not self._speaks_draft:
            super().write_error(status_code, **kwargs)
            return
        problem = self.draft.problem(self.error_model(status_code, **kwargs), status_code, error)
        self._content_type = "application/problem+json"
        self.finish(json.dumps(problem))

    async def _tell_draft(self, status: UploadStatus, code: int) -> None:
        """Answer bytes in the draft: the upload as JSON where it is complete, else nothing but headers."""
        self.draft.tell(status)
        if status.state == "complete":
            await self.reply(upload_model(status), 201 if code == 201 else 200)
            return
        self.set_status(code)
        self.finish()

    # --- the verbs ------------------------------------------------------------------------------------------------------------

    async def begin(self, *args: str) -> None:
        """Refuse what cannot be before its body comes."""
        if self.request.method == "POST" and self.speaks_tus:
            self.tus.check_version()
            created = await self.tus.create()
            if created is not None:
                self._created = created
        elif self.request.method == "POST" and self.draft.is_creation:
            self._speaks_draft = True
            await self.draft.create()

    @allow_unauthenticated
    async def options(self, *args: str) -> None:  # type: ignore[override]
        """What this server can do: 204."""
        self.tus.describe()
        self.draft.describe()
        for name, value in cross_origin.preflight(self.request.headers.get("Origin"), self._headers).items():
            self.set_header(name, value)
        self.set_status(204)
        self.finish()

    @web.authenticated
    async def get(self) -> None:
        """The caller's uploads under way: ``{"uploads": [{id, path, size, offset, …}]}``, the oldest first."""
        found = await self.manager.uploads.list(owner=self.owner)
        await self.reply({"uploads": [upload_model(status) for status in found]})

    @web.authenticated
    async def post(self) -> None:
        """Begin an upload: 201 with its address in ``Location``."""
        if self.speaks_tus:
            await self.tus.end(await self.taken() if self.is_taking else self._created, 201)
            return
        if self._speaks_draft:
            await self._tell_draft(await self.taken(), 201)
            return
        wanted = await self.body_object()
        unknown = wanted.keys() - {"path", "size", "metadata", "content_type", "part_size", "sha256", "overwrite", "version", "fingerprint"}
        if unknown:
            raise InvalidContentError(f"An upload has no {sorted(unknown)[0]!r}.")
        if not isinstance(wanted.get("path"), str):
            raise InvalidContentError('Say where the file goes: "path".')
        names = ("size", "metadata", "content_type", "part_size", "sha256", "fingerprint")
        options = {name: wanted[name] for name in names if wanted.get(name) is not None}
        when = condition_of(wanted)
        if when is not None:
            options["when"] = when
        status = await self.manager.uploads.start(wanted["path"], owner=self.owner, protocol="parts", **options)
        self.set_header("Location", self.address(status.id))
        await self.reply(upload_model(status), 201)


class UploadHandler(UploadsHandler):
    """One upload."""

    async def begin(self, *args: str) -> None:
        """Refuse what cannot be before its body comes."""
        if self.speaks_tus and self.request.method in ("PATCH", "POST", "HEAD", "DELETE"):
            self.tus.check_version()
            if self.verb == "PATCH":
                await self.tus.patch(args[0])
        elif not self.speaks_tus and self.verb in ("PATCH", "HEAD"):
            self._speaks_draft = True
            if self.verb == "PATCH":
                await self.draft.patch(args[0])

    @web.authenticated
    async def head(self, id: str) -> None:
        """Where it goes on."""
        if self.speaks_tus:
            await self.tus.head(id)
        else:
            await self.draft.retrieve(id)
            self.set_status(204)
        self.finish()

    @web.authenticated
    async def patch(self, id: str) -> None:
        """More bytes: 204, with the new offset; in the draft 200 where the file is complete."""
        if self.speaks_tus:
            await self.tus.end(await self.taken(), 204)
        else:
            await self._tell_draft(await self.taken(), 204)

    @web.authenticated
    async def post(self, id: str) -> None:
        """Another method, for clients behind proxies that know few."""
        verbs = {"PATCH": self.patch, "DELETE": self.delete, "HEAD": self.head}
        if self.verb not in verbs:
            raise web.HTTPError(405)
        await cast(Awaitable[None], verbs[self.verb](id))

    @web.authenticated
    async def get(self, id: str) -> None:
        """How it stands: state, size, offset, progress, speed, seconds left. In the draft this stops a request that hangs, as HEAD does."""
        if self.draft.told_version is not None:
            self._speaks_draft = True
            await self.reply(upload_model(await self.draft.retrieve(id)))
            return
        await self.reply(upload_model(await self.manager.uploads.status(id, owner=self.owner)))

    @web.authenticated
    async def delete(self, id: str) -> None:
        """Give it up; all that had arrived is removed: 204."""
        if self.speaks_tus:
            self.refuse_ended(await self.manager.uploads.status(id, owner=self.owner))
        await self.manager.uploads.cancel(id, owner=self.owner)
        self.set_status(204)
        self.finish()


class UploadPartsHandler(CloudHandler):
    """The parts of an upload."""

    @web.authenticated
    async def get(self, id: str) -> None:
        """Which parts are held, and which are needed."""
        await self.reply(asdict(await self.manager.uploads.resume(id, owner=bases.user_name())))


class UploadPartHandler(ReceivingHandler):
    """One part, by its number."""

    async def begin(self, *args: str) -> None:
        """Look whether such a part can be before it comes."""
        id, number = args
        if self.request.method != "PUT":
            return
        length = self.request.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > _MOST_PART:
            raise InvalidContentError(f"A part that is sent by its number has at most {_MOST_PART} bytes.")
        self.take(self._put(id, int(number)))

    async def _put(self, id: str, number: int) -> Any:
        data = bytearray()
        async for piece in self.body:
            data += piece
            if len(data) > _MOST_PART:
                raise InvalidContentError(f"A part that is sent by its number has at most {_MOST_PART} bytes.")
        sha256 = self.request.headers.get("X-Checksum-Sha256")
        return await self.manager.uploads.put_part(id, number, bytes(data), sha256, owner=bases.user_name())

    @web.authenticated
    async def put(self, id: str, number: str) -> None:
        """Keep the part: ``{number, size, checksum}``. A repeat is safe."""
        await self.reply(await self.taken())

    @web.authenticated
    async def get(self, id: str, number: str) -> None:
        """Whether the store holds it with this SHA-256 (``?sha256=…``): ``{"verified": true}``."""
        expected = self.get_query_argument("sha256", "")
        await self.reply({"verified": await self.manager.uploads.verify_part(id, int(number), expected, owner=bases.user_name())})


class CompleteHandler(CloudHandler):
    """The end of an upload."""

    @web.authenticated
    async def post(self, id: str) -> None:
        """Make the file; the body may say ``{"overwrite": true}`` or ``{"version": …}``, after a user was asked."""
        when = condition_of(await self.body_object())
        await self.reply(upload_model(await self.manager.uploads.complete(id, when=when, owner=bases.user_name())))


class UploadEventsHandler(CloudHandler):
    """Progress, as server-sent events."""

    @web.authenticated
    async def get(self, id: str) -> None:
        """One event whenever something has changed; the last one when the upload has ended."""
        await self.manager.uploads.status(id, owner=bases.user_name())
        self._content_type = "text/event-stream"
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Accel-Buffering", "no")
        with anyio.CancelScope() as self._scope:
            async for status in self.manager.uploads.watch(id, owner=bases.user_name()):
                self.write(f"data: {json.dumps(upload_model(status))}\n\n")
                await self.flush()
            self.finish()

    def on_connection_close(self) -> None:
        """Nobody looks any more."""
        super().on_connection_close()
        scope = getattr(self, "_scope", None)
        if scope is not None:
            scope.cancel()


class UploadStatisticsHandler(CloudHandler):
    """How uploads go."""

    @web.authenticated
    async def get(self) -> None:
        """Uploads under way, completed today and in a week, bytes, failures."""
        await self.reply(asdict(await self.manager.uploads.statistics()))


class RecoveredHandler(CloudHandler):
    """What had arrived of uploads that were given up."""

    @web.authenticated
    async def get(self) -> None:
        """List it: ``{"recovered": [{id, path, size, kept}]}``."""
        found = [
            {**asdict(item), "path": api_path(mount, item.path)}
            for mount in self.mounts()
            if not mount.read_only
            for item in await RecoveredFiles(mount.bucket).list()
            if self.is_visible(api_path(mount, item.path))
        ]
        await self.reply({"recovered": found})


class RestoreRecoveredHandler(CloudHandler):
    """One of them."""

    @web.authenticated
    async def post(self, id: str) -> None:
        """Make it a file again, under the path in ``{"to": …}``: 201."""
        to = (await self.body_object()).get("to")
        if not isinstance(to, str):
            raise InvalidContentError('Say where the file goes: "to".')
        location = self.manager.resolve_new(to)
        info = await RecoveredFiles(location.bucket).restore(id, location.path)
        await self.manager.publish(location.api, info if info.size is not None else await location.bucket.head(location.path))
        await self.reply({"path": location.api}, 201)


def upload_model(status: UploadStatus) -> dict[str, Any]:
    """An upload as JSON tells it; times as ISO 8601."""
    model = asdict(status)
    for name in ("created", "expires"):
        model[name] = model[name].isoformat() if model[name] is not None else None
    return model


def condition_of(wanted: dict[str, Any]) -> When | None:
    """What a JSON body says of the file that is there."""
    version = wanted.get("version")
    if version is not None and not isinstance(version, str):
        raise InvalidContentError('"version" is text.')
    if version:
        return IfVersion(version)
    return ALWAYS if wanted.get("overwrite") is True else None
