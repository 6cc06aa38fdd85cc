"""From what Azure Blob Storage, or the way to it, answers to our errors."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

import requests
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    DecodeError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseError,
)

from cloudcontents.errors import (
    AlreadyExistsError,
    BucketNotFoundError,
    ChecksumError,
    CloudContentsError,
    ConfigurationError,
    ConflictError,
    InvalidPathError,
    LockedError,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    RangeError,
    RateLimitedError,
    StorageAuthError,
    TooLargeError,
    TruncatedError,
    UnavailableError,
    UnsupportedError,
)
from cloudcontents.keys import show

from .interface import IfAbsent, IfVersion, When
from .sdk import CLOCK

# AuthorizationFailure is not among them: it is a firewall's, or an account's that forbids this kind of request.
_AUTH = frozenset(
    {
        "AuthenticationFailed",
        "InvalidAuthenticationInfo",
        "NoAuthenticationInformation",
        "KeyBasedAuthenticationNotPermitted",
        "PublicAccessNotPermitted",
    }
)
_NO_CONTAINER = frozenset({"ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled", "ResourceNotFound", "AccountIsDisabled"})
_NAMES = frozenset({"InvalidUri", "InvalidResourceName", "OutOfRangeInput"})
_DIGEST = frozenset({"Md5Mismatch", "InvalidMd5", "Crc64Mismatch"})
_LEASED = frozenset({"LeaseIdMissing", "LeaseLost", "LeaseIdMismatchWithBlobOperation"})
_KEPT = frozenset({"BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold", "ContainerImmutabilityPolicyMismatch"})
_FULL = frozenset({"AccountQuotaExceeded", "QuotaExceeded", "InsufficientStorage"})


def error_code(error: CloudContentsError) -> str:
    """What the store itself called a failure; "" where it did not get to that."""
    cause = error.__cause__
    return _code(cause) if isinstance(cause, HttpResponseError) else ""


_NO_STORE = "What answered is not Azure Blob Storage; check endpoint_url, and the proxy where there is one."

#: Seconds by which a request's time may differ from the service's.
_SKEW = 900


def is_about_credentials(error: HttpResponseError) -> bool:
    """Whether the store refuses who is asking, rather than what is asked."""
    return _status(error) == 401 or _code(error) in _AUTH


def failure(error: Exception, key: str, when: When) -> Exception:
    """The error of ours that an SDK's failure means; an error of ours, or one that is nobody's, comes back as it is.

    Args:
        error: What the SDK raised.
        key: What was asked for.
        when: The condition that was sent.
    """
    if isinstance(error, CloudContentsError):
        return error
    if isinstance(error, IncompleteReadError | DecodeError):
        return TruncatedError(f"The store broke off while sending {show(key) if key else 'its answer'}; try again.")
    if isinstance(error, HttpResponseError):
        if error.response is not None:
            if not _is_from_azure(error):
                return UnavailableError(_NO_STORE)
            if is_about_credentials(error) and _is_of_another_time(_header(error, "date")):
                return StorageAuthError(CLOCK)
            return answer(_code(error), _status(error), key, when, _retry_after(error))
        if isinstance(error, ClientAuthenticationError):
            return StorageAuthError(
                "The server has no usable credentials for the storage account. Set AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_KEY "
                "or AZURE_STORAGE_SAS_TOKEN, or give it an identity (AZURE_CLIENT_ID …, a managed identity, 'az login'); for a public "
                "container add ?anonymous=true to its URL."
            )
        return UnavailableError("The connection to the store broke; try again later.")
    if isinstance(error, ServiceRequestError) and isinstance(error.inner_exception, requests.exceptions.SSLError):
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return ConfigurationError("The store's certificate cannot be verified; name the file of its authority in REQUESTS_CA_BUNDLE.")
        return UnavailableError("No secure connection can be made; check whether endpoint_url is http:// or https://, and the proxy.")
    if isinstance(error, KeyError):
        return UnavailableError(_NO_STORE)
    if isinstance(error, ServiceRequestError):
        return UnavailableError("The store cannot be reached; check the account's name, the network, and endpoint_url where one is set.")
    if isinstance(error, ServiceResponseError | OSError):
        return UnavailableError("The connection to the store broke; try again later.")
    if isinstance(error, AzureError):
        if "MD5 mismatch" in str(error):
            return _damaged(key)
        return ConfigurationError(f"The store's client refused the request: {type(error).__name__}.")
    return error


def answer(code: str, status: int, key: str, when: When, retry_after: float | None = None) -> CloudContentsError:
    """The error that an answer of the store means.

    Args:
        code: Its error code, "" where it has none.
        status: Its HTTP status.
        key: What was asked for.
        when: The condition that was sent.
        retry_after: Seconds that it asks to wait.
    """
    name = show(key) if key else "The object"
    if code in _NO_CONTAINER:
        return BucketNotFoundError("The container or its account does not exist, or is being deleted; check the bucket URL.")
    if code in _AUTH or status == 401:
        return StorageAuthError(
            "The store rejects the server's credentials (expired, wrong, or of another account); renew them, or check "
            "AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN, or the identity that is used instead of them."
        )
    if code in _LEASED:
        return LockedError(f"{name} is leased by another program; try again when it is done.")
    if code in ("CopyIdMismatch", "PendingCopyOperation"):
        return LockedError(f"{name} is being copied to; try again when that is done.")
    if code in _KEPT:
        return PermissionDeniedError(f"{name} is under a retention policy or legal hold and cannot be changed yet.")
    if code == "SnapshotsPresent":
        return PermissionDeniedError(f"{name} has snapshots, which keep it; delete them first.")
    if code in ("BlobArchived", "BlobBeingRehydrated"):
        return PermissionDeniedError(f"{name} is in the archive tier and cannot be read; move it to another tier first.")
    if code == "InvalidBlobType":
        return PermissionDeniedError(f"{name} is a page or append blob, which is not replaced; delete it first.")
    if code == "InvalidBlockList":
        # Whoever wrote the object in the meantime took our blocks with it.
        if isinstance(when, IfAbsent):
            return AlreadyExistsError(f"{name} exists already.")
        if isinstance(when, IfVersion):
            return ConflictError(f"{name} has changed since it was read.")
        return UnavailableError(f"{name} was written by somebody else at the same time; send it again.")
    if status == 404:
        if isinstance(when, IfVersion):
            return ConflictError(f"{name} is gone; it was deleted or renamed meanwhile.")
        return NotFoundError(f"{name} does not exist.")
    if code == "BlobAlreadyExists" or (status == 412 and isinstance(when, IfAbsent)):
        return AlreadyExistsError(f"{name} exists already.")
    if status == 412:
        return ConflictError(f"{name} has changed since it was read.")
    if code == "ServerBusy" or status == 429:
        return RateLimitedError("The store asks for fewer requests; try again in a moment.", retry_after=retry_after)
    if code in _DIGEST:
        return _damaged(key)
    if code in _FULL or status == 507:
        return QuotaError("The account is full; make room, or raise its limit.")
    if code == "RequestBodyTooLarge" or status == 413:
        return TooLargeError(f"{name} is larger than the store takes.")
    if code in _NAMES:
        return InvalidPathError(f"The store does not take the name {name}; use another one.")
    if status == 416:
        return RangeError(f"{name} does not have that range.")
    if status in (405, 501):
        return UnsupportedError(f"The store cannot do this ({code or status}).")
    if status == 403:
        return PermissionDeniedError(
            "The store denies this by its roles, the SAS or its network rules; 'cloudcontents doctor' tells which permission is missing."
        )
    if status >= 500:
        return UnavailableError("The store failed; try again later.", retry_after=retry_after)
    return UnsupportedError(f"The store refused the request ({code or status}).")


def _damaged(key: str) -> ChecksumError:
    return ChecksumError(f"The bytes of {show(key)} were damaged on their way; send them again.")


def _is_from_azure(error: HttpResponseError) -> bool:
    # Each answer of the service has its id; what a gateway says of its own troubles is no lie of another server.
    return _status(error) >= 500 or any(_header(error, name) for name in ("x-ms-request-id", "x-ms-error-code", "x-ms-version"))


def _is_of_another_time(date: str) -> bool:
    try:
        told = parsedate_to_datetime(date)
    except ValueError:
        return False
    return abs((datetime.now(timezone.utc) - told).total_seconds()) > _SKEW


def _status(error: HttpResponseError) -> int:
    return int(error.status_code or 0)


def _code(error: HttpResponseError) -> str:
    # The SDK has it as a member of an enumeration where it knows it, and as text where it does not.
    code = getattr(error, "error_code", None) or _header(error, "x-ms-error-code")
    return str(getattr(code, "value", code))


def _retry_after(error: HttpResponseError) -> float | None:
    told = _header(error, "retry-after")
    return float(told) if told.isdecimal() else None


def _header(error: HttpResponseError, name: str) -> str:
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    return headers.get(name, "")
