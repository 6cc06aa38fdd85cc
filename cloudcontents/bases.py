"""Which version of a file each client last saw: the base that its next save is conditional on (promise G2).

The client is told by the request that is being answered: its XSRF cookie, which each browser session has, together with the user. What is
noted here never leaves the process; a server that has forgotten it falls back to what the request's own HEAD sees.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import weakref
from collections import OrderedDict
from typing import Any

from jupyter_server.base.call_context import CallContext

from . import keys

#: Clients × files remembered at the most; the ones not used for longest go first.
_LIMIT = 50_000

#: Seconds for which a file that was served to a client is believed to be there still; the save's condition makes a mistake harmless.
_FRESH = 60.0


class Bases:
    """What was last served to whom."""

    def __init__(self) -> None:
        self._served: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        self._seen: weakref.WeakKeyDictionary[Any, dict[str, str | None]] = weakref.WeakKeyDictionary()

    def note(self, path: str, version: str) -> None:
        """A client was served this version of a file, or wrote it."""
        key = (client(), path)
        self._served[key] = (version, time.monotonic())
        self._served.move_to_end(key)
        if len(self._served) > _LIMIT:
            self._served.popitem(last=False)

    def forget(self, path: str) -> None:
        """A client was told that there is no such file."""
        self._served.pop((client(), path), None)

    def forget_tree(self, path: str) -> None:
        """A client deleted or renamed this file or directory: what it knew of it, and of all below it, is void."""
        name = client()
        for key in [key for key in self._served if key[0] == name and keys.is_within(key[1], path)]:
            del self._served[key]

    def base(self, path: str) -> str | None:
        """The version that the client last saw, or None."""
        found = self._served.get((client(), path))
        return found[0] if found is not None else None

    def is_fresh(self, path: str) -> bool:
        """Whether the client was served this file a moment ago."""
        found = self._served.get((client(), path))
        return found is not None and time.monotonic() - found[1] < _FRESH

    def saw(self, path: str, version: str | None) -> None:
        """This request's own HEAD saw that version, or no file."""
        handler = current_handler()
        if handler is not None:
            self._seen.setdefault(handler, {})[path] = version

    def seen(self, path: str) -> tuple[bool, str | None]:
        """Whether this request has looked, and what it saw."""
        looked = self._seen.get(current_handler(), {}) if current_handler() is not None else {}
        return path in looked, looked.get(path)


def current_handler() -> Any | None:
    """The handler of the request being answered, or None outside one."""
    return CallContext.get(CallContext.JUPYTER_HANDLER)


def client() -> str:
    """A name for the client of the request being answered; "" outside one. A digest: no cookie is kept."""
    handler = current_handler()
    if handler is None:
        return ""
    try:
        session = handler.get_cookie("_xsrf") or ""
    except AttributeError:
        session = ""
    user = getattr(handler, "current_user", None)
    name = getattr(user, "username", "") or ""
    return hashlib.sha256(f"{name}\0{session}".encode("utf-8", "surrogatepass")).hexdigest()[:24]


def uploader() -> str:
    """A name for whoever sends the pieces of one upload, the same for all of them.

    Unlike `client` it knows no made-up user: a program that sends a token and no cookie is given a new one with each request.
    """
    session = ""
    handler = current_handler()
    if handler is not None:
        with contextlib.suppress(AttributeError):
            session = handler.get_cookie("_xsrf") or ""
    return hashlib.sha256(f"{user_name() or ''}\0{session}".encode("utf-8", "surrogatepass")).hexdigest()[:24]


def user_name() -> str | None:
    """The user of the request being answered, where the identity provider knows real people; else None.

    jupyter_server's own providers make up an anonymous name for each browser, which tells nobody anything.
    """
    handler = current_handler()
    provider = getattr(handler, "identity_provider", None)
    if provider is None or type(provider).__module__.startswith("jupyter_server."):
        return None
    user = getattr(handler, "current_user", None)
    return getattr(user, "username", None) or None
