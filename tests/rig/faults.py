"""What the fault proxy can do to a request or its reply, which requests it does it to, and error replies as each store words them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import ClassVar
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

HIDDEN = "hidden"
SECRET_HEADERS = {
    "authorization",
    "cookie",
    "x-amz-security-token",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-goog-encryption-key",
    "x-goog-copy-source-encryption-key",
    "x-ms-copy-source-authorization",
    "x-ms-encryption-key",
}
SECRET_PARAMETERS = {
    "awsaccesskeyid",
    "googleaccessid",
    "sig",
    "signature",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-goog-credential",
    "x-goog-signature",
}
# A copy's source is a URL in a header, and may be a signed one.
SIGNATURE = re.compile(rf"(?i)\b({'|'.join(SECRET_PARAMETERS)})=[^&\s]*")

# How each store calls the failures that tests ask for most; `code` says another.
CODES: Mapping[str, Mapping[int, str]] = {
    "s3": {
        400: "InvalidRequest",
        403: "AccessDenied",
        404: "NoSuchKey",
        409: "ConditionalRequestConflict",
        412: "PreconditionFailed",
        429: "TooManyRequests",
        500: "InternalError",
        503: "SlowDown",
    },
    "gcs": {
        400: "invalid",
        401: "authError",
        403: "forbidden",
        404: "notFound",
        409: "conflict",
        412: "conditionNotMet",
        429: "rateLimitExceeded",
        500: "internalError",
        503: "backendError",
    },
    "azure": {
        400: "InvalidInput",
        401: "InvalidAuthenticationInfo",
        403: "AuthenticationFailed",
        404: "BlobNotFound",
        409: "BlobAlreadyExists",
        412: "ConditionNotMet",
        429: "TooManyRequests",
        500: "InternalError",
        503: "ServerBusy",
    },
}


@dataclass
class Request:
    """A request as it came over the wire, and what became of it.

    Attributes:
        path: Quoted, as it was sent, without the query.
        query: Its parameters; secrets among them read `hidden`.
        headers: By lower-case name; secrets among them read `hidden`.
        fault: What was done to it: `answer`, `lose_reply`, `truncate`, `flip`, `delay`, or several with a comma; empty for nothing.
        forwarded: Whether the server was asked.
        status: What was answered; 0 while there is none, and where the client saw none.
        sent: Bytes of its body.
        received: Bytes of the reply's body that were passed on.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    fault: str = ""
    forwarded: bool = False
    status: int = 0
    sent: int = 0
    received: int = 0

    @classmethod
    def read(cls, method: str, target: str, headers: list[tuple[str, str]]) -> Request:
        """Take a request down, without its secrets."""
        path, _, query = target.partition("?")
        parameters = {
            name: HIDDEN if name.lower() in SECRET_PARAMETERS else value for name, value in parse_qsl(query, keep_blank_values=True)
        }
        kept = {
            name.lower(): HIDDEN if name.lower() in SECRET_HEADERS else SIGNATURE.sub(rf"\1={HIDDEN}", value) for name, value in headers
        }
        return cls(method, path, parameters, kept)

    @property
    def target(self) -> str:
        """Path and query in one line, for `path` of a rule to search."""
        return "?".join(filter(None, [self.path, "&".join(f"{name}={value}" for name, value in self.query.items())]))


@dataclass
class Which:
    """Which requests a fault strikes.

    Attributes:
        method: Of this method; None for all.
        path: Whose path and query this regular expression is found in.
        nth: Only the n-th of those, from 1; None for each of them.
        share: How many of those, 0 to 1, by the proxy's seed.
        times: At most so many in all; None for no limit.
        credential: Only those whose head holds this text as it came: an access key's id, a token, a signature.
        after: So many of those go free first.
    """

    method: str | None = None
    path: str = ""
    nth: int | None = None
    share: float = 1.0
    times: int | None = None
    credential: str | None = None
    after: int = 0
    dice: random.Random = field(default_factory=random.Random)
    _seen: int = 0
    _struck: int = 0

    def strikes(self, request: Request, raw: bytes = b"") -> bool:
        """Count the request if it is one of those, and say whether it is struck; `raw` is its head, with its secrets."""
        if (self.method is not None and request.method != self.method) or not re.search(self.path, request.target):
            return False
        if self.credential is not None and self.credential.encode() not in raw:
            return False
        self._seen += 1
        if self._seen <= self.after:
            return False
        chosen = (self.nth is None or self._seen == self.nth) and self.dice.random() < self.share
        if not chosen or (self.times is not None and self._struck >= self.times):
            return False
        self._struck += 1
        return True


@dataclass(frozen=True)
class Answer:
    """Answer in place of the server, which is not asked; or, where it is `done`, has done what was asked."""

    name: ClassVar[str] = "answer"
    status: int
    code: str | None
    headers: Mapping[str, str]
    done: bool = False
    message: str = "from the fault proxy"


@dataclass(frozen=True)
class LoseReply:
    """Let the server do it, then reset the connection in place of its reply."""

    name: ClassVar[str] = "lose_reply"


@dataclass(frozen=True)
class Truncate:
    """End the connection after so many bytes of the reply's body."""

    name: ClassVar[str] = "truncate"
    at: int
    reset: bool


@dataclass(frozen=True)
class Flip:
    """Invert one bit of the body's byte at this offset."""

    name: ClassVar[str] = "flip"
    at: int
    request: bool


@dataclass(frozen=True)
class Delay:
    """Wait before the request is passed on."""

    name: ClassVar[str] = "delay"
    seconds: float


Fault = Answer | LoseReply | Truncate | Flip | Delay


def error_reply(dialect: str, answer: Answer, method: str) -> bytes:
    """The whole reply, head and body, as the store of this dialect words it."""
    status = answer.status
    code = answer.code or CODES.get(dialect, {}).get(status, "InternalError")
    headers = {"Connection": "keep-alive"}
    if dialect == "gcs":
        error = {
            "code": status,
            "message": answer.message,
            "errors": [{"reason": code, "domain": "global", "message": answer.message}],
        }
        headers["Content-Type"] = "application/json; charset=UTF-8"
        body = json.dumps({"error": error}).encode()
    else:
        identity = "<RequestId>0</RequestId>" if dialect == "s3" else ""
        text = f"<Error><Code>{escape(code)}</Code><Message>{escape(answer.message)}</Message>{identity}</Error>"
        headers["Content-Type"] = "application/xml"
        if dialect == "azure":
            headers["x-ms-error-code"] = code
        body = f'<?xml version="1.0" encoding="utf-8"?>\n{text}'.encode()
    headers["Content-Length"] = str(len(body))
    headers |= answer.headers
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Fault"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + (b"" if method == "HEAD" or status == 304 else body)
