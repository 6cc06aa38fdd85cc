"""Our errors as the server's: what every verb of a manager or of checkpoints raises."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from tornado.web import HTTPError

from .errors import CloudContentsError, WrongTypeError


class _Logging(Protocol):
    log: Any


P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound=_Logging)


def verb(method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Let every error leave as an `HTTPError`: JupyterLab shows the message of one, and a `TypeError` would pass for an old API."""

    @functools.wraps(method)
    async def answer(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(self, *args, **kwargs)
        except CloudContentsError as error:
            reason = "bad type" if isinstance(error, WrongTypeError) else None
            raise HTTPError(error.http_status, error.message, reason=reason) from error
        except HTTPError:
            raise
        except Exception as error:
            self.log.exception("Unexpected failure in %s", method.__name__)
            raise HTTPError(500, f"Unexpected failure ({type(error).__name__}); the server's log says more.") from error

    return answer
