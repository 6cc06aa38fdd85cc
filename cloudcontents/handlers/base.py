"""The base of all our routes: who may come in, how an error is told, how JSON goes out.

Closed by default: `prepare` lets nobody through to a verb who is not logged in, whom the server's authorizer refuses for the resource
"contents", or whose cookie comes without the XSRF token (reads included, as the server's own file handler does). A new route gets all of it
by deriving from `CloudHandler`; it cannot forget a check.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from http.client import responses
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from jupyter_core.utils import ensure_async
from jupyter_server.auth.utils import HTTP_METHOD_TO_AUTH_ACTION
from jupyter_server.base.handlers import APIHandler
from tornado import web

from ..errors import CloudContentsError, DeadlineError, InvalidContentError, InvalidPathError, UnsupportedError
from ..keys import is_hidden, join

if TYPE_CHECKING:
    from ..manager import CloudContentsManager
    from ..namespace import Location, Mount

T = TypeVar("T")

#: Seconds that one of several buckets has to answer in, where all are asked.
_MOUNT_SECONDS = 10.0

#: Seconds after which a client may try again, where the store did not say.
_RETRY_AFTER = 5.0


class CloudHandler(APIHandler):
    """A route on the contents of the bucket, for logged-in and authorized users only."""

    auth_resource = "contents"

    #: Whether a person opens this in a browser: then one who is not logged in is sent to the login page instead of a 403.
    page = False

    _content_type = "application/json"

    async def prepare(self) -> None:  # type: ignore[override]
        """Check the user, the authorizer and the XSRF token, whatever the verb."""
        await super().prepare()
        if self._finished or self.request.method == "OPTIONS":  # a preflight carries no credentials, and tells nothing
            return
        if self.current_user is None:
            web.authenticated(_nothing)(self)
            return
        action = HTTP_METHOD_TO_AUTH_ACTION.get(self.request.method or "", "write")
        allowed: bool = await ensure_async(self.authorizer.is_authorized(self, self.current_user, action, self.auth_resource))
        if not allowed:
            raise web.HTTPError(403, f"User is not authorized to {action} on resource: {self.auth_resource}.")
        self.check_xsrf_cookie()

    def get_login_url(self) -> str:
        """The login page for a page; for all else there is none, but a 403."""
        if not self.page:
            raise web.HTTPError(403)
        return super(APIHandler, self).get_login_url()

    # --- what routes ask for ------------------------------------------------------------------------------------------------------

    @property
    def manager(self) -> CloudContentsManager:
        """The server's contents manager, as it is now (an extension may have put a subclass in its place after start).

        Raises:
            UnsupportedError: It is not one of ours.
        """
        from ..manager import CloudContentsManager  # the manager names these handlers; the import cannot go both ways

        manager = self.settings["contents_manager"]
        if not isinstance(manager, CloudContentsManager):
            raise UnsupportedError(
                "This server keeps its files elsewhere; set ServerApp.contents_manager_class to cloudcontents.CloudContentsManager."
            )
        return manager

    def is_visible(self, path: str) -> bool:
        """Whether a canonical API path may be shown to this server's users; by name only."""
        return bool(self.manager.allow_hidden) or not is_hidden(path)

    def locate(self, path: str) -> Location:
        """Where an API path lies, for reading.

        Raises:
            NotFoundError: A hidden, reserved or impossible name: answered like a missing one.
        """
        return self.manager.resolve(path)

    def mounts(self) -> list[Mount]:
        """Every bucket of this server."""
        return list(self.manager.namespace.mounts)

    async def ask_mounts(self, ask: Callable[[Mount], Awaitable[Sequence[T]]]) -> tuple[list[tuple[Mount, T]], list[dict[str, str]]]:
        """Ask every bucket at once; one that is away hinders no other.

        Returns:
            What they have, and ``{path, code, message}`` of those that could not be asked.

        Raises:
            CloudContentsError: None of them could.
        """
        mounts = self.mounts()
        answers: dict[str, Sequence[T] | CloudContentsError] = {}

        async def one(mount: Mount) -> None:
            try:
                with anyio.fail_after(_MOUNT_SECONDS if len(mounts) > 1 else None):
                    answers[mount.name] = await ask(mount)
            except CloudContentsError as error:
                answers[mount.name] = error
            except TimeoutError:
                answers[mount.name] = DeadlineError(f"The store did not answer within {_MOUNT_SECONDS:g} s.")

        async with anyio.create_task_group() as group:
            for mount in mounts:
                group.start_soon(one, mount)
        found: list[tuple[Mount, T]] = []
        away: list[dict[str, str]] = []
        for mount in mounts:
            answer = answers[mount.name]
            if isinstance(answer, CloudContentsError):
                if len(away) + 1 == len(mounts):
                    raise answer
                away.append({"path": mount.name, "code": answer.code, "message": answer.message})
            else:
                found += [(mount, item) for item in answer]
        return found, away

    def path_argument(self) -> str | None:
        """The query's ``path``, or None. Taken as it was sent: tornado's own way would turn control characters into spaces.

        Raises:
            InvalidPathError: Not UTF-8.
        """
        values = self.request.query_arguments.get("path")
        if not values:
            return None
        try:
            return values[-1].decode()
        except UnicodeDecodeError:
            raise InvalidPathError("The path is not valid UTF-8.") from None

    def required_path(self) -> str:
        """The query's ``path``.

        Raises:
            InvalidPathError: There is none, or it is not UTF-8.
        """
        path = self.path_argument()
        if path is None:
            raise InvalidPathError("Say which file is meant: ?path=….")
        return path

    async def body_object(self) -> dict[str, Any]:
        """The request's JSON object; none at all is an empty one.

        Raises:
            InvalidContentError: Not a JSON object.
        """
        body = self.request.body
        if not body.strip():
            return {}
        try:
            value = await asyncio.to_thread(json.loads, body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise InvalidContentError("The body of this request is a JSON object; send one, or nothing.")
        return value

    async def reply(self, value: object, status: int = 200) -> None:
        """Send a value as JSON, written in a thread: a listing may have megabytes."""
        body = await asyncio.to_thread(json.dumps, value, default=_plain, ensure_ascii=False)
        self.set_status(status)
        self.finish(body.encode("utf-8", "backslashreplace"))

    # --- how it goes out ----------------------------------------------------------------------------------------------------------

    def compute_etag(self) -> str | None:
        """None: an ETag comes from the object's version, or there is none."""
        return None

    def finish(self, *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        """End the response with the content type that was set, JSON if none was."""
        kwargs.setdefault("set_content_type", self._content_type)
        return super().finish(*args, **kwargs)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log what went wrong; of a failure that has a name, one line and its cause."""
        if isinstance(value, CloudContentsError):
            cause = f" ({type(value.__cause__).__name__})" if value.__cause__ is not None else ""
            level = logging.WARNING if value.http_status >= 500 else logging.INFO
            self.log.log(level, "%s %s: %s: %s%s", self.request.method, self.request.path, value.code, value.message, cause)
        else:
            super().log_exception(typ, value, tb)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Answer with the status that the error says."""
        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, CloudContentsError):
            status_code = error.http_status
            kwargs["reason"] = responses.get(status_code, "Error")
        super().send_error(status_code, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tell an error as JSON."""
        self._content_type = "application/json"
        self.finish(json.dumps(self.error_model(status_code, **kwargs)))

    def error_model(self, status_code: int, **kwargs: Any) -> dict[str, Any]:
        """An error: ``message`` for people, ``code`` for programs, ``reason`` as the server's own routes have it."""
        error = kwargs.get("exc_info", (None, None))[1]
        message, code, reason = responses.get(status_code, "Unknown error"), "error", None
        if isinstance(error, web.HTTPError):
            message = error.log_message % error.args if error.log_message else message
            code, reason = f"http_{status_code}", error.reason
            error = error.__cause__ or error  # what the manager and the checkpoints raise has its own error behind it
        if isinstance(error, CloudContentsError):
            message, code = error.message, error.code
            if error.retryable:
                self.set_header("Retry-After", str(math.ceil(error.retry_after or _RETRY_AFTER)))
        elif isinstance(error, web.HTTPError):
            pass
        elif error is not None:
            message = "The server failed at this request; its log says more."
        return {"message": message, "code": code, "reason": reason}


def api_path(mount: Mount, path: str) -> str:
    """The API path of a path within a mount."""
    return join(mount.name, path)


def _nothing(handler: web.RequestHandler) -> None:
    """What `web.authenticated` guards in `prepare`."""


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
