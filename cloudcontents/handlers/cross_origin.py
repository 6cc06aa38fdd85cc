"""Uploads from pages of another origin, where `ServerApp.allow_origin` or `allow_origin_pat` lets it in."""

from __future__ import annotations

from tornado.httputil import HTTPHeaders

#: What the two dialects and the clients that speak them send.
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
REQUEST_HEADERS = ", ".join(
    (
        "Authorization",
        "Content-Digest",
        "Content-Disposition",
        "Content-Type",
        "If-Match",
        "Repr-Digest",
        "Tus-Resumable",
        "Upload-Checksum",
        "Upload-Complete",
        "Upload-Concat",
        "Upload-Defer-Length",
        "Upload-Draft-Interop-Version",
        "Upload-Incomplete",
        "Upload-Length",
        "Upload-Metadata",
        "Upload-Offset",
        "X-Checksum-Sha256",
        "X-HTTP-Method-Override",
        "X-Request-ID",
        "X-Requested-With",
        "X-XSRFToken",
    )
)

#: Headers of answers by which clients go on; a browser hides them from such a page unless told.
ANSWER_HEADERS = ", ".join(
    (
        "Location",
        "Retry-After",
        "Tus-Checksum-Algorithm",
        "Tus-Extension",
        "Tus-Max-Size",
        "Tus-Resumable",
        "Tus-Version",
        "Upload-Complete",
        "Upload-Concat",
        "Upload-Defer-Length",
        "Upload-Expires",
        "Upload-Incomplete",
        "Upload-Length",
        "Upload-Limit",
        "Upload-Metadata",
        "Upload-Offset",
        "Want-Content-Digest",
        "Want-Repr-Digest",
    )
)

_EXPOSED, _ALLOWED = "Access-Control-Expose-Headers", "Access-Control-Allow-Headers"
_GRANTS = ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials")


def granted(origin: str | None, headers: HTTPHeaders) -> dict[str, str]:
    """What an answer says to a page of another origin that the server lets in; empty where it does not.

    Args:
        origin: The page's, as its browser says it.
        headers: The answer's, after the server has set its own. What is configured there already (`ServerApp.tornado_settings`) stays.
    """
    if not _is_let_in(origin, headers):
        return {}
    return {_EXPOSED: ANSWER_HEADERS, **{name: headers[name] for name in (*_GRANTS, _EXPOSED) if name in headers}}


def preflight(origin: str | None, headers: HTTPHeaders) -> dict[str, str]:
    """What the answer to OPTIONS says beside that, so that the browser lets the page ask at all."""
    if not _is_let_in(origin, headers):
        return {}
    return {"Access-Control-Allow-Methods": METHODS, _ALLOWED: headers.get(_ALLOWED, REQUEST_HEADERS)}


def _is_let_in(origin: str | None, headers: HTTPHeaders) -> bool:
    return bool(origin) and headers.get(_GRANTS[0]) in ("*", origin)
