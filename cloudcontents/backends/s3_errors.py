"""From what S3, or the way to it, answers to our errors."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as BrokenConnectionError
from botocore.parsers import ResponseParserError

from cloudcontents.errors import (
    AlreadyExistsError,
    BucketNotFoundError,
    ChecksumError,
    CloudContentsError,
    ConfigurationError,
    ConflictError,
    InvalidContentError,
    InvalidPathError,
    NotFoundError,
    PartsChangedError,
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
from cloudcontents.redact import redact

from .interface import IfAbsent, IfVersion, When
from .sdk import CLOCK

_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})
#: Codes that say that the credentials are old, or were replaced: newer ones may be at hand.
OUTDATED = _EXPIRED | {"InvalidAccessKeyId", "InvalidToken", "InvalidTokenId", "SignatureDoesNotMatch"}
_AUTH = OUTDATED | {"AuthFailure", "InvalidSecurity", "UnauthorizedAccess", "AccountProblem", "NotSignedUp"}
_BUSY = frozenset({"SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "TooManyRequests", "RequestLimitExceeded", "ServerBusy"})
_DIGEST = frozenset({"BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest", "XAmzContentChecksumMismatch", "ChecksumMismatch"})
_FULL = frozenset({"XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "InsufficientCapacity"})
_REGION = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "TemporaryRedirect"})


_NO_STORE = "What answered is not S3; check endpoint_url, and the proxy where there is one."


def failure(error: Exception, key: str, when: When) -> Exception:
    """The error of ours that an SDK's failure means; an error of ours, or one that is nobody's, comes back as it is.

    Args:
        error: What the SDK raised.
        key: What was asked for.
        when: The condition that was sent.
    """
    if isinstance(error, ClientError):
        return _answer(error, key, when)
    if isinstance(error, CloudContentsError):
        return error
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError | TokenRetrievalError):
        return StorageAuthError(
            "The server has no credentials for the store. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role; "
            "for a public bucket add ?anonymous=true to its URL."
        )
    if isinstance(error, ProfileNotFound):
        return ConfigurationError(f"{redact(str(error))}; add it to the AWS configuration file, or name another one in ?profile=.")
    if isinstance(error, ResponseStreamingError | IncompleteReadError):
        return TruncatedError(f"The store broke off while sending {show(key) if key else 'its answer'}; try again.")
    if isinstance(error, FlexibleChecksumError):
        return ChecksumError(f"The bytes of {show(key)} were damaged on their way; try again.")
    if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return ConfigurationError("The store's certificate cannot be verified; name the file of its authority in AWS_CA_BUNDLE.")
    if isinstance(error, SSLError):
        return UnavailableError("No secure connection can be made; check whether endpoint_url is http:// or https://, and the proxy.")
    if isinstance(error, ResponseParserError | KeyError):
        return UnavailableError(_NO_STORE)
    if isinstance(error, ConnectTimeoutError | EndpointConnectionError):
        return UnavailableError("The store cannot be reached; check the network, and endpoint_url where one is set.")
    if isinstance(error, ReadTimeoutError | ConnectionClosedError | HTTPClientError | BrokenConnectionError):
        return UnavailableError("The connection to the store broke; try again later.")
    if isinstance(error, BotoCoreError):
        return ConfigurationError(f"The store's client refused the request: {type(error).__name__}.")
    if isinstance(error, OSError):
        return UnavailableError("The connection to the store broke; try again later.")
    return error


def is_bare(error: ClientError) -> int | None:
    """The status of a refusal that has no words of the store's (the reply to a HEAD has no body), else None."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return int(code) if code.isdecimal() else None


def error_code(error: CloudContentsError) -> str:
    """What the store itself called a failure; "" where it did not get to that."""
    cause = error.__cause__
    return str(cause.response.get("Error", {}).get("Code", "")) if isinstance(cause, ClientError) else ""


def _answer(error: ClientError, key: str, when: When) -> CloudContentsError:
    answer = error.response.get("Error", {})
    code = str(answer.get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or (code if code.isdecimal() else 0))
    name = show(key) if key else "The object"
    if code == "NoSuchBucket":
        return BucketNotFoundError("The bucket does not exist, or this server may not see it; check the bucket URL.")
    if code == "NoSuchUpload":
        return NotFoundError(f"The upload of {name} is no more: it was completed or aborted.")
    if code in ("InvalidPart", "InvalidPartOrder"):
        return PartsChangedError(f"Parts of the upload of {name} are gone or hold other bytes by now; ask which parts are held.")
    if code == "EntityTooSmall":
        return InvalidContentError(f"A part of {name} is too small: all but the last have at least 5 MiB.")
    if status == 404 and error.operation_name == "ListObjectsV2":
        return UnavailableError(_NO_STORE)  # a store says which bucket it does not have
    if code in ("NoSuchKey", "NoSuchVersion") or status == 404:
        if isinstance(when, IfVersion):
            return ConflictError(f"{name} is gone; it was deleted or renamed meanwhile.")
        return NotFoundError(f"{name} does not exist.")
    if code == "PreconditionFailed" or status == 412:
        if isinstance(when, IfAbsent):
            return AlreadyExistsError(f"{name} exists already.")
        return ConflictError(f"{name} has changed since it was read.")
    if code in ("ConditionalRequestConflict", "OperationAborted"):
        return UnavailableError("Another request is writing the same object; trying again.")
    if code in _EXPIRED:
        return StorageAuthError("The server's credentials for the store have expired and no newer ones were found; renew them.")
    if code == "InvalidAccessKeyId":
        return StorageAuthError("The store does not know the server's access key; check AWS_ACCESS_KEY_ID, or the profile.")
    if code == "SignatureDoesNotMatch":
        return StorageAuthError("The server's secret key does not fit its access key; check AWS_SECRET_ACCESS_KEY, or the profile.")
    if code in _AUTH or status == 401:
        return StorageAuthError("The store rejects the server's credentials (wrong, or of another account); renew them.")
    if code == "RequestTimeTooSkewed":
        return StorageAuthError(CLOCK)
    if code in _REGION or status == 301:
        region = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region")
        return BucketNotFoundError(f"The bucket is in another region; add ?region={region or '…'} to its URL.")
    if code == "InvalidBucketName":
        return BucketNotFoundError("The store does not take this for a bucket's name; check the bucket URL.")
    if code in _BUSY or status == 429:
        return RateLimitedError("The store asks for fewer requests; try again in a moment.", retry_after=_retry_after(error))
    if code in _DIGEST:
        return ChecksumError(f"The bytes of {name} were damaged on their way; send them again.")
    if code in _FULL or status == 507:
        return QuotaError("The store is full; make room, or raise its quota.")
    if code == "EntityTooLarge":
        return TooLargeError(f"{name} is larger than the store takes.")
    if code in ("KeyTooLongError", "XMinioInvalidObjectName", "XMinioInvalidResourceName", "InvalidURI"):
        return InvalidPathError(f"The store does not take the name {name}; use another one.")
    if code == "InvalidRange" or status == 416:
        return RangeError(f"{name} does not have that range.")
    if code in ("NotImplemented", "MethodNotAllowed") or status in (405, 501):
        return UnsupportedError(f"The store cannot do this ({code}).")
    if code == "InvalidObjectState":
        return PermissionDeniedError(f"{name} is archived in its storage class; restore it in the store first.")
    if status == 403 or code in ("AccessDenied", "AllAccessDisabled"):
        return PermissionDeniedError("The store denies this; 'cloudcontents doctor' tells which permission is missing.")
    if status >= 500 or code in ("InternalError", "RequestTimeout", "ServiceUnavailable"):
        return UnavailableError("The store failed; try again later.", retry_after=_retry_after(error))
    return UnsupportedError(f"The store refused the request ({code or status}).")


def _retry_after(error: ClientError) -> float | None:
    told = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after", "")
    return float(told) if told.isdecimal() else None
