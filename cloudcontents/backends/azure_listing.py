"""One page of a container's listing, read from the service's own XML."""

from __future__ import annotations

import base64
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from azure.storage.blob import ContainerClient

from cloudcontents.errors import TruncatedError, UnsupportedError

from .azure_names import metadata_of
from .azure_replies import taken
from .interface import ObjectInfo, Page, PrefixInfo

_MOST = 1000


def list_page(container: ContainerClient, prefix: str, *, delimiter: str | None, token: str | None, size: int | None) -> Page:
    """Ask for one page. Blocks. Metadata are asked for, since they alone tell the directories of data-lake tools.

    Args:
        container: The container.
        prefix: Start of the names.
        delimiter: ``/`` or None.
        token: The page before's.
        size: Entries wanted.

    Raises:
        TruncatedError: What came has no end.
        UnsupportedError: What came is no XML.
    """
    arguments: dict[str, Any] = {"name_starts_with": prefix, "include": ["metadata"], "results_per_page": min(size or _MOST, _MOST)}
    if delimiter:
        arguments["delimiter"] = delimiter
    ask = container.walk_blobs if delimiter else container.list_blobs
    reply = taken(lambda hook: next(ask(**arguments, raw_response_hook=hook).by_page(token)))
    body: bytes = reply.body()
    if not body.rstrip().endswith(b"</EnumerationResults>"):
        raise TruncatedError("The store broke off while sending a listing; try again.")
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - the store's, over its own connection; the SDK reads it so too
    except ElementTree.ParseError as error:
        raise UnsupportedError("The store's listing cannot be read; a name in it may hold a control character.") from error
    # Each store orders names that few have in its own way.
    objects = sorted(map(_info, root.iterfind("Blobs/Blob")), key=lambda info: info.key.encode())
    prefixes = sorted((_name(found) for found in root.iterfind("Blobs/BlobPrefix")), key=str.encode)
    return Page(objects, [PrefixInfo(name) for name in prefixes], root.findtext("NextMarker") or None)


def _info(found: ElementTree.Element) -> ObjectInfo:
    told = {child.tag: child.text or "" for child in found.iterfind("Properties/*")}
    digest = told.get("Content-MD5") if told.get("BlobType") == "BlockBlob" else None
    return ObjectInfo(
        _name(found),
        int(told["Content-Length"]),
        told["Etag"].strip('"'),
        parsedate_to_datetime(told["Last-Modified"]),
        revision=found.findtext("VersionId"),
        content_type=told.get("Content-Type") or None,
        metadata=metadata_of({child.tag: child.text or "" for child in found.iterfind("Metadata/*")}),
        checksum=f"md5:{base64.b64decode(digest).hex()}" if digest else None,
    )


def _name(found: ElementTree.Element) -> str:
    # Percent-encoded where it holds what XML cannot.
    name = found.find("Name")
    text = (name.text or "") if name is not None else ""
    return unquote(text) if name is not None and name.get("Encoded") == "true" else text
