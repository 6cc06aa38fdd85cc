"""Optional protocol of a backend: requests that somebody else sends to the store, signed by us, each for one purpose and a short time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable
from urllib.parse import quote

from .multipart import Upload

#: Seconds that a signed request holds at the most, whoever asks.
LONGEST = 3600


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request that its holder may send, once or again, until it expires. Its URL is a secret: `repr` does not show it.

    Attributes:
        method: The one verb that it is signed for.
        url: Where to.
        headers: What must be sent with it, exactly.
        expires_in: Seconds from now.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    expires_in: int = 900


def lifetime(expires_in: int) -> int:
    """The seconds that a signed request holds.

    Raises:
        ValueError: None, or more than `LONGEST`.
    """
    if not 0 < expires_in <= LONGEST:
        raise ValueError(f"A signed request holds for 1 to {LONGEST} seconds.")
    return expires_in


def disposition(filename: str | None) -> str:
    """What a signed GET asks for as ``Content-Disposition``: always a download, so that no page of the store's address runs in a browser.

    Args:
        filename: The name that a browser saves it under; None leaves that to the browser.
    """
    # RFC 6266: the percent-encoded form holds any name, and cannot end the header.
    return "attachment" if filename is None else f"attachment; filename*=UTF-8''{quote(filename, safe='')}"


@runtime_checkable
class Presign(Protocol):
    """Optional: the store takes requests that were signed beforehand. No call goes to the store, or only one for a signing key."""

    async def sign_get(self, key: str, *, expires_in: int = 900, filename: str | None = None) -> SignedRequest:
        """A GET of one object.

        Args:
            key: The object.
            expires_in: Seconds, at most `LONGEST`.
            filename: The name that a browser saves it under.

        Raises:
            UnsupportedError: These credentials cannot sign; the message says which can.
        """

    async def sign_put(self, key: str, *, size: int, checksum: str, expires_in: int = 900) -> SignedRequest:
        """A PUT of one object of exactly these bytes, and only where none is yet, as far as the store binds that.

        Args:
            key: The object.
            size: Bytes.
            checksum: ``sha256:<hex>``.
            expires_in: Seconds, at most `LONGEST`.
        """

    async def sign_part(self, upload: Upload, number: int, *, size: int, checksum: str, expires_in: int = 900) -> SignedRequest:
        """A PUT of one part of an upload, with exactly these bytes, as far as the store binds that. `list_parts` shows it once it is there.

        Args:
            upload: The upload.
            number: The part's number.
            size: Bytes.
            checksum: ``sha256:<hex>`` of the part.
            expires_in: Seconds, at most `LONGEST`.
        """
