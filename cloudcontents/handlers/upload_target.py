"""What a client tells of the file that it uploads, in either dialect: where it goes, what it may replace, ``Upload-Metadata``."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import Any

from tornado.httputil import HTTPHeaders

from ..backends.interface import ALWAYS, IF_ABSENT, IfVersion, When
from ..errors import CloudContentsError, InvalidContentError, InvalidPathError
from ..keys import join


class MediaTypeError(CloudContentsError, ValueError):
    """A body of another type than the request is for."""

    code = "media_type"
    http_status = 415


def media_type(headers: HTTPHeaders) -> str:
    """The ``Content-Type`` without its parameters; empty where there is none."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def target_path(query: str | None, told: Mapping[str, str], headers: HTTPHeaders) -> str | None:
    """The API path that the file is to have, or None where the client does not say.

    Args:
        query: ``?path=…``, which counts before all else.
        told: The metadata: ``path``, or ``directory`` and ``filename``.
        headers: The request's; ``Content-Disposition`` may name a file.

    Raises:
        InvalidPathError: The name in ``Content-Disposition`` has a directory.
    """
    if query is not None or "path" in told:
        return query if query is not None else told["path"]
    if told.get("filename"):
        return join(told.get("directory", "").strip("/"), told["filename"])
    name = _disposition_name(headers.get("Content-Disposition"))
    if name is not None and "/" in name:
        raise InvalidPathError("A name in Content-Disposition has no directory; say where the file goes with ?path=….")
    return name


def target_condition(told: Mapping[str, str], headers: HTTPHeaders) -> When:
    """What must hold of a file that is there: ``If-Match``, or ``version`` or ``overwrite`` in the metadata; else there must be none."""
    match = headers.get("If-Match", "").strip()
    if match and match != "*":
        return IfVersion(match.removeprefix("W/").strip('"'))
    if told.get("version"):
        return IfVersion(told["version"])
    return ALWAYS if match == "*" or told.get("overwrite") == "true" else IF_ABSENT


def parse_metadata(header: str | None) -> dict[str, str]:
    """``Upload-Metadata``: pairs of a key and a base64 value, separated by commas.

    Raises:
        InvalidContentError: Not so.
    """
    found: dict[str, str] = {}
    for pair in (header or "").split(","):
        key, _, value = pair.strip().partition(" ")
        if not key:
            continue
        if key in found:
            raise InvalidContentError(f"Upload-Metadata says {key!r} twice.")
        try:
            found[key] = base64.b64decode(value.strip(), validate=True).decode()
        except (ValueError, binascii.Error):
            raise InvalidContentError(f"The value of {key!r} in Upload-Metadata is not base64 of UTF-8 text.") from None
    return found


def format_metadata(metadata: Mapping[str, Any]) -> str:
    """The reverse of `parse_metadata`."""
    return ",".join(f"{key} {base64.b64encode(str(value).encode()).decode()}".strip() for key, value in metadata.items())


def _disposition_name(header: str | None) -> str | None:
    if header is None:
        return None
    message = Message()
    message["Content-Disposition"] = header
    names = [value for name, value in message.get_params([], header="content-disposition") if name.lower() == "filename"]
    # `filename*` says it in a charset of its own (a tuple here), and counts before `filename`.
    names.sort(key=lambda value: not isinstance(value, tuple))
    return collapse_rfc2231_value(names[0]) or None if names else None
