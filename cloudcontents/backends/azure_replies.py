"""Replies of Azure as they came, before the SDK makes objects of them.

The SDK's documented `raw_response_hook` sees each reply first. Here it takes a good one away: a download's, since the SDK would read its
first piece into memory, ask once more for each further piece and try again by itself; a listing's, since the SDK takes a fifth of a
second, with the interpreter locked, for each thousand entries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_GOOD = (200, 206)


def taken(ask: Callable[[Callable[[Any], None]], object]) -> Any:
    """The HTTP response to a request, unread where the request is a download. Blocks.

    Args:
        ask: Makes the SDK's call, with what it is given as `raw_response_hook`. Whatever the SDK makes of a bad reply comes through.
    """
    try:
        ask(_take)
    except _Taken as taken:
        return taken.reply
    raise RuntimeError("the SDK has not shown its reply")


class _Taken(Exception):
    """Carries the reply out of the SDK."""

    def __init__(self, reply: Any) -> None:
        super().__init__("taken")
        self.reply = reply


def _take(response: Any) -> None:
    if response.http_response.status_code in _GOOD:
        raise _Taken(response.http_response)
