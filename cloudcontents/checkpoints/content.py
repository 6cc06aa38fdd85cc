"""Between a model's content and bytes, for checkpoints under other contents managers. All of it runs in threads: it is slow."""

from __future__ import annotations

import hashlib
from binascii import Error as Base64Error
from typing import Any

import anyio.to_thread
import nbformat
import pybase64

from ..errors import InvalidContentError
from ..keys import show


async def encode_file(content: str, format: str | None) -> bytes:
    """The bytes of a file's content.

    Raises:
        InvalidContentError: Not what its format says.
    """

    def work() -> bytes:
        try:
            if format == "base64":
                return pybase64.b64decode("".join(content.split()), validate=True)
            return content.encode("utf-8")
        except (Base64Error, ValueError) as error:
            raise InvalidContentError(f"The content is not valid {format or 'text'}: {error}.") from error

    return await anyio.to_thread.run_sync(work)


async def encode_notebook(nb: Any) -> bytes:
    """The bytes of a notebook, in the format version it has."""

    def work() -> bytes:
        text: str = nbformat.writes(nbformat.from_dict(nb), version=nbformat.NO_CONVERT)
        return text.encode("utf-8")

    return await anyio.to_thread.run_sync(work)


async def encode_model(model: dict[str, Any]) -> tuple[bytes, str]:
    """The bytes of a model's content, and their checksum ``sha256:<hex>``."""
    data = await (encode_notebook(model["content"]) if model["type"] == "notebook" else encode_file(model["content"], model.get("format")))
    digest = await anyio.to_thread.run_sync(lambda: hashlib.sha256(data).hexdigest())
    return data, f"sha256:{digest}"


async def decode_file(data: bytes) -> dict[str, Any]:
    """A file model of bytes: text, or base64 where they are not UTF-8."""

    def work() -> dict[str, Any]:
        try:
            return {"type": "file", "content": data.decode("utf-8"), "format": "text"}
        except UnicodeDecodeError:
            return {"type": "file", "content": pybase64.b64encode(data).decode("ascii"), "format": "base64"}

    return await anyio.to_thread.run_sync(work)


async def decode_notebook(data: bytes, path: str) -> dict[str, Any]:
    """A notebook model of bytes.

    Raises:
        InvalidContentError: They are not a notebook.
    """

    def work() -> dict[str, Any]:
        try:
            nb = nbformat.reads(data.decode("utf-8"), as_version=4)
            return {"type": "notebook", "content": nb, "format": "json"}
        except Exception as error:  # whatever nbformat finds wrong with it
            raise InvalidContentError(f"The checkpoint of {show(path)} is not a notebook that can be read: {error}.") from error

    return await anyio.to_thread.run_sync(work)
