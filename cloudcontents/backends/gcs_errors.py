"""From what Google Cloud Storage, or the way to it, answers to our errors."""

from __future__ import annotations

import json
import re

import requests
import urllib3.exceptions
from google.auth import exceptions as auth

from cloudcontents.errors import (
    AlreadyExistsError,
    BucketNotFoundError,
    ChecksumError,
    CloudContentsError,
    ConfigurationError,
    ConflictError,
    InvalidPathError,
    NotFoundError,
    PermissionDeniedError,
    RangeError,
    RateLimitedError,
    StorageAuthError,
    TooLargeError,
    TruncatedError,
    UnavailableError,
    UnsupportedError,
)
from cloudcontents.keys import show

from .interface import ALWAYS, IfAbsent, IfVersion, When
from .sdk import CLOCK

_BUSY = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "dailyLimitExceeded", "SlowDown"})
_KEPT = frozenset({"retentionPolicyNotMet", "objectUnderActiveHold", "RetentionPolicyNotMet", "ObjectUnderActiveHold"})
_PAYER = re.compile(r"requester pays|user ?project", re.IGNORECASE)
_DIGEST = re.compile(r"crc32c|md5|checksum|digest", re.IGNORECASE)
_NAME = re.compile(r"object (?:name|length)|InvalidObjectName|KeyTooLong", re.IGNORECASE)
_XML = re.compile(r"<(Code|Message)>([^<]*)</\1>")

# How a token of a wrong time is refused.
_CLOCK = re.compile(r"\biat\b|timeframe|not yet valid|used too early", re.IGNORECASE)

_NO_STORE = "What answered is not Google Cloud Storage; check endpoint_url, and the proxy where there is one."
_NOT_PUBLIC = "The bucket is not public; give the server credentials, and take anonymous=true out of its URL."

#: What a resumable upload's session answers when the store has forgotten it.
GONE = 410


class Refusal(Exception):
    """The store answered with an error.

    Attributes:
        status: The HTTP status.
        reason: The store's own name of the failure ("" where it gave none): `notFound` (JSON), `NoSuchKey` (XML).
        message: What the store said, for the log.
        retry_after: Seconds to wait, where the store said so.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    @classmethod
    def of(cls, response: requests.Response) -> Refusal:
        """Read an answer's body, in JSON or XML or neither, and give its connection back."""
        with response:
            text = response.text
        told = response.headers.get("Retry-After", "")
        retry_after = float(told) if told.isdecimal() else None
        try:
            error = json.loads(text)["error"]
            errors = error.get("errors") or [{}]
            return cls(response.status_code, str(errors[0].get("reason", "")), str(error.get("message", "")), retry_after)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            found = dict(_XML.findall(text))
            return cls(response.status_code, found.get("Code", ""), found.get("Message", text[:500]), retry_after)


def failure(error: Exception, key: str = "", when: When = ALWAYS, *, creating: bool = False) -> Exception:
    """The error of ours that a failure means; an error of ours, or one that is nobody's, comes back as it is.

    Args:
        error: What was raised.
        key: What was asked for; "" where it was the bucket: then whatever is not found is the bucket.
        when: The condition that was sent.
        creating: Whether the object was to be made: then whatever is not found is the bucket.
    """
    if isinstance(error, CloudContentsError):
        return error
    if isinstance(error, Refusal):
        return _answer(error, key, when, creating)
    if isinstance(error, auth.TransportError):
        return UnavailableError("The service that renews the server's credentials cannot be reached; try again later.")
    if isinstance(error, auth.InvalidOperation):
        return StorageAuthError(_NOT_PUBLIC)
    if isinstance(error, auth.DefaultCredentialsError):
        return StorageAuthError(
            "The server has no credentials for the store. Set GOOGLE_APPLICATION_CREDENTIALS, run 'gcloud auth application-default login', "
            "or name a ?keyfile= in the bucket URL; for a public bucket add ?anonymous=true."
        )
    if isinstance(error, auth.GoogleAuthError) and _CLOCK.search(str(error)):
        return StorageAuthError(CLOCK)
    if isinstance(error, auth.GoogleAuthError):
        return StorageAuthError("The server's credentials cannot be renewed (expired, revoked, or of a deleted account); sign in again.")
    if isinstance(error, requests.exceptions.ChunkedEncodingError | urllib3.exceptions.ProtocolError | urllib3.exceptions.DecodeError):
        return TruncatedError(f"The store broke off while sending {_name(key)}; try again.")
    if isinstance(error, KeyError | requests.exceptions.JSONDecodeError):
        return UnavailableError(_NO_STORE)
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema | requests.exceptions.MissingSchema):
        return ConfigurationError("endpoint_url is not an address; write for example https://storage.googleapis.com.")
    if isinstance(error, requests.exceptions.SSLError):
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return ConfigurationError("The store's certificate cannot be verified; name the file of its authority in REQUESTS_CA_BUNDLE.")
        return UnavailableError("No secure connection can be made; check whether endpoint_url is http:// or https://, and the proxy.")
    if isinstance(error, requests.exceptions.ReadTimeout | urllib3.exceptions.ReadTimeoutError):
        return UnavailableError("The store did not answer in time; try again later.")
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.ConnectionError):
        return UnavailableError("The store cannot be reached; check the network, and endpoint_url where one is set.")
    if isinstance(error, requests.exceptions.RequestException | urllib3.exceptions.HTTPError | OSError):
        return UnavailableError("The connection to the store broke; try again later.")
    return error


def _answer(error: Refusal, key: str, when: When, creating: bool) -> CloudContentsError:
    status, reason, name = error.status, error.reason, _name(key)
    if status == 404:
        return _missing(error, "" if creating else key, when)
    if status == 412 and isinstance(when, IfAbsent):
        return AlreadyExistsError(f"{name} exists already.")
    if status == 412 and isinstance(when, IfVersion):
        return ConflictError(f"{name} has changed since it was read.")
    if status == 429 or reason in _BUSY:
        return RateLimitedError("The store asks for fewer requests; try again in a moment.", retry_after=error.retry_after)
    if status == 401:
        if error.message.startswith("Anonymous caller"):
            return StorageAuthError(_NOT_PUBLIC)
        return StorageAuthError("The store rejects the server's credentials (expired, wrong, or revoked); renew them.")
    if status in (400, 403) and _PAYER.search(error.message):
        return PermissionDeniedError("Whoever asks pays for this bucket; add ?user_project= with a project that you may bill to its URL.")
    if reason in _KEPT:
        return PermissionDeniedError(f"A retention policy or a hold of the bucket keeps {name}; it cannot be replaced or deleted yet.")
    if status == 403:
        return PermissionDeniedError("The store denies this; 'cloudcontents doctor' tells which permission is missing.")
    if status == 400 and (reason == "BadDigest" or _DIGEST.search(error.message)):
        return ChecksumError(f"The bytes of {name} were damaged on their way; send them again.")
    if status == 400 and (_NAME.search(error.message) or _NAME.search(reason)):
        return InvalidPathError(f"The store does not take the name {name}; use another one.")
    if status == 409:
        return UnavailableError("Another request is writing the same object; trying again.", retry_after=error.retry_after)
    if status == GONE:
        return UnavailableError("The store has forgotten the upload; send it again.")
    if status == 413:
        return TooLargeError(f"{name} is larger than the store takes.")
    if status == 416:
        return RangeError(f"{name} does not have that range.")
    if 300 <= status < 400:
        return ConfigurationError("The store answers with another address; check endpoint_url.")
    if status in (405, 501):
        return UnsupportedError(f"The store cannot do this ({reason or status}).")
    if status >= 500 or status == 408:
        return UnavailableError("The store failed; try again later.", retry_after=error.retry_after)
    return UnsupportedError(f"The store refused the request ({reason or status}).")


def _missing(error: Refusal, key: str, when: When) -> CloudContentsError:
    if not error.reason and error.message.lstrip()[:1] == "<":
        return UnavailableError(_NO_STORE)  # some web server's page
    # The JSON API calls both "notFound"; only its message tells a bucket from an object.
    object_only = error.reason == "NoSuchKey" or error.message.startswith("No such object")
    if not key or error.reason == "NoSuchBucket" or (not object_only and "bucket does not exist" in error.message):
        return BucketNotFoundError("The bucket does not exist, or this server may not see it; check the bucket URL.")
    if isinstance(when, IfVersion):
        return ConflictError(f"{show(key)} is gone; it was deleted or renamed meanwhile.")
    return NotFoundError(f"{show(key)} does not exist.")


def _name(key: str) -> str:
    return show(key) if key else "the object"
