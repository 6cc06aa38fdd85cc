"""What the range and conditional headers of a request ask for (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import format_datetime, parsedate_to_datetime

from ..backends.interface import ObjectInfo
from ..errors import RangeError

_SAFE = re.compile(r"[\x21\x23-\x7e]+\Z")
_TAG = re.compile(r'(?P<weak>W/)?(?P<tag>"[\x21\x23-\x7e\x80-\xff]*")')
_SPEC = re.compile(r"bytes\s*=\s*(?P<first>\d*)\s*-\s*(?P<last>\d*)\s*\Z", re.ASCII | re.IGNORECASE)

#: No object is larger, and no store takes a larger number.
_LARGEST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class ByteRange:
    """One range as `Backend.get` takes it: a negative `start` counts from the end."""

    start: int
    length: int | None


def etag(info: ObjectInfo) -> str:
    """The strong entity tag of an object's version: the version itself where a header can hold it, else its hash."""
    version = info.version.strip('"')
    return f'"{version}"' if _SAFE.match(version) else f'"{hashlib.sha256(info.version.encode()).hexdigest()[:32]}"'


def http_date(moment: datetime) -> str:
    """A time as headers write it: whole seconds, GMT."""
    return format_datetime(moment.astimezone(timezone.utc).replace(microsecond=0), usegmt=True)


def parse_range(header: str | None) -> ByteRange | None:
    """The single range that a Range header asks for.

    Returns:
        None where the whole object is to be sent: no header, several ranges, another unit, or no sense in it.

    Raises:
        RangeError: A range that no object has.
    """
    match = _SPEC.match(header.strip()) if header else None
    if match is None:
        return None
    first, last = match["first"], match["last"]
    if len(first) > 4000 or len(last) > 4000 or not (first or last):
        return None
    if not first:
        length = min(int(last), _LARGEST)
        if length == 0:
            raise RangeError("The last zero bytes of a file are no range.")
        return ByteRange(-length, None)
    start = int(first)
    if last and int(last) < start:
        return None
    if start > _LARGEST:
        raise RangeError("The range starts behind the end of the file.")
    return ByteRange(start, min(int(last), _LARGEST) - start + 1 if last else None)


def content_range(start: int, length: int, size: int) -> str:
    """The Content-Range header of a part."""
    return f"bytes {start}-{start + length - 1}/{size}"


def if_match_fails(headers: Mapping[str, str], info: ObjectInfo) -> bool:
    """Whether If-Match is there and does not hold (strong comparison)."""
    wanted = headers.get("If-Match")
    return wanted is not None and not _listed(wanted, etag(info), weak=False)


def is_not_modified(headers: Mapping[str, str], info: ObjectInfo) -> bool:
    """Whether If-None-Match (weak comparison) or, without it, If-Modified-Since says that the client has this version."""
    known = headers.get("If-None-Match")
    if known is not None:
        return _listed(known, etag(info), weak=True)
    since = headers.get("If-Modified-Since")
    if since is None:
        return False
    try:
        moment = parsedate_to_datetime(since)
    except (ValueError, TypeError, IndexError):
        return False
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return info.modified.replace(microsecond=0) <= moment


def range_applies(headers: Mapping[str, str], info: ObjectInfo) -> bool:
    """Whether If-Range lets a range be sent. A date never does: two versions of one second would share it."""
    wanted = headers.get("If-Range")
    return wanted is None or wanted.strip() == etag(info)


def is_conditional(headers: Mapping[str, str]) -> bool:
    """Whether the answer may be one without a body, so that the object is asked about before it is opened."""
    return any(name in headers for name in ("If-Match", "If-None-Match", "If-Modified-Since"))


def _listed(header: str, tag: str, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    return any(found["tag"] == tag and (weak or not found["weak"]) for found in _TAG.finditer(header))
