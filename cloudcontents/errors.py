"""The one table from a failure to its code, HTTP status and message.

    CloudContentsError
    ├── NotFoundError (FileNotFoundError)         404 not_found
    ├── AlreadyExistsError (FileExistsError)      409 already_exists
    ├── ConflictError                             409 version_conflict
    │   ├── PreconditionError                     412 precondition_failed (the client sent If-Match itself)
    │   ├── PartsChangedError                     409 parts_changed
    │   ├── WrongOffsetError (ValueError)         409 wrong_offset
    │   ├── IncompleteError (ValueError)          409 incomplete
    │   └── SupersededError                       409 superseded
    ├── InvalidPathError (ValueError)             400 invalid_path
    │   └── OutsideRootError                      404 outside_root
    ├── InvalidContentError (ValueError)          400 invalid_content
    ├── ConfigurationError (ValueError)           500 configuration
    ├── WrongTypeError (ValueError)               400 wrong_type
    ├── DirectoryNotEmptyError (OSError)          400 not_empty
    ├── PermissionDeniedError (PermissionError)   403 storage_denied
    ├── UploadNotFoundError (also NotFoundError)  404 upload_not_found
    ├── UploadGoneError (ValueError)              410 upload_gone
    ├── UploadRefusedError (ValueError)           403 upload_refused
    ├── TooManyUploadsError (ValueError)          429 too_many_uploads
    ├── StorageAuthError                          502 storage_auth (never 401: it would log the user out)
    ├── BucketNotFoundError                       502 bucket_not_found (the operator's fault, not the user's 404)
    ├── UnavailableError (ConnectionError)        503 unavailable
    │   ├── RateLimitedError                      503 slow_down
    │   └── OutcomeUnknownError                   503 outcome_unknown
    ├── DeadlineError (TimeoutError)              504 deadline
    ├── TruncatedError                            502 truncated
    ├── TooLargeError (ValueError)                413 too_large
    ├── QuotaError (OSError)                      507 quota
    ├── RangeError (ValueError)                   416 bad_range
    ├── ChecksumError (ValueError)                400 checksum
    ├── LockedError                               423 locked
    └── UnsupportedError (NotImplementedError)    501 unsupported

Failures of the system (502, 503, 504, 507) are also `RuntimeError`.

A message says what happened and what to do next. It holds no traceback, no path of the host and no secret; the provider's own
exception stays in ``__cause__``, for the log.
"""

from __future__ import annotations


class CloudContentsError(Exception):
    """Base of every error that this package raises on purpose.

    Attributes:
        code: Stable name of the failure, for programs. Act on the code, not on the message.
        http_status: The status that the server answers with.
        retryable: Whether the same call may succeed later.
        retry_after: Seconds to wait first, where the store said so.
        message: What happened and what to do, fit for a user's eyes.
    """

    code: str = "error"
    http_status: int = 500
    retryable: bool = False

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after

    def __str__(self) -> str:
        # OSError subclasses would print "[Errno None] …" otherwise.
        return self.message


class NotFoundError(CloudContentsError, FileNotFoundError):
    """Nothing is stored under that key or path."""

    code = "not_found"
    http_status = 404


class AlreadyExistsError(CloudContentsError, FileExistsError):
    """`IfAbsent` was asked for and the key exists, or a name is taken."""

    code = "already_exists"
    http_status = 409


class ConflictError(CloudContentsError):
    """`IfVersion` was asked for and the object has moved on, or is gone."""

    code = "version_conflict"
    http_status = 409


class PreconditionError(ConflictError):
    """The client sent a precondition of its own (If-Match) and it does not hold."""

    code = "precondition_failed"
    http_status = 412


class PartsChangedError(ConflictError):
    """Parts of an upload are missing in the store, or hold other bytes than those that were confirmed."""

    code = "parts_changed"


class WrongOffsetError(ConflictError, ValueError):
    """Bytes were sent for another place of an upload than the one that comes next.

    Attributes:
        offset: Where to go on.
    """

    code = "wrong_offset"

    def __init__(self, offset: int) -> None:
        super().__init__(f"This upload goes on at byte {offset}; send the bytes from there.")
        self.offset = offset


class IncompleteError(ConflictError, ValueError):
    """An upload was to be completed, and not all of it has arrived."""

    code = "incomplete"


class SupersededError(ConflictError):
    """A newer request goes on with the same upload; this one was stopped."""

    code = "superseded"


class InvalidPathError(CloudContentsError, ValueError):
    """A name that cannot be, or must not be, a path or key."""

    code = "invalid_path"
    http_status = 400


class OutsideRootError(InvalidPathError):
    """A name that points outside the configured root. Answered like a missing file, so that it tells nothing."""

    code = "outside_root"
    http_status = 404


class InvalidContentError(CloudContentsError, ValueError):
    """Content that does not fit its declared type or format."""

    code = "invalid_content"
    http_status = 400


class ConfigurationError(CloudContentsError, ValueError):
    """A URL, option or trait that cannot work. The message names the right one."""

    code = "configuration"
    http_status = 500


class WrongTypeError(CloudContentsError, ValueError):
    """A directory where a file was asked for, or the other way round."""

    code = "wrong_type"
    http_status = 400


class DirectoryNotEmptyError(CloudContentsError, OSError):
    """A non-empty directory where only an empty one may go."""

    code = "not_empty"
    http_status = 400


class PermissionDeniedError(CloudContentsError, PermissionError):
    """The store, or a read-only setting, denies this operation."""

    code = "storage_denied"
    http_status = 403


class StorageAuthError(CloudContentsError, RuntimeError):
    """The store rejects the server's own credentials."""

    code = "storage_auth"
    http_status = 502


class BucketNotFoundError(CloudContentsError, RuntimeError):
    """The configured bucket does not exist or cannot be seen."""

    code = "bucket_not_found"
    http_status = 502


class UnavailableError(CloudContentsError, ConnectionError, RuntimeError):
    """The store cannot be reached, or answers with a failure of its own."""

    code = "unavailable"
    http_status = 503
    retryable = True


class RateLimitedError(UnavailableError):
    """The store asks for fewer requests."""

    code = "slow_down"


class OutcomeUnknownError(UnavailableError):
    """A write was sent and its reply was lost; it may or may not have happened."""

    code = "outcome_unknown"


class DeadlineError(CloudContentsError, TimeoutError, RuntimeError):
    """A call did not end within its deadline."""

    code = "deadline"
    http_status = 504
    retryable = True


class TruncatedError(CloudContentsError, RuntimeError):
    """A body was shorter than its declared size."""

    code = "truncated"
    http_status = 502
    retryable = True


class UploadNotFoundError(NotFoundError, ValueError):
    """No such upload, or not one of this user's."""

    code = "upload_not_found"


class UploadGoneError(CloudContentsError, ValueError):
    """An upload that was cancelled, or given up after its time."""

    code = "upload_gone"
    http_status = 410


class UploadRefusedError(CloudContentsError, ValueError):
    """A hook, or a rule about file types, does not want this file."""

    code = "upload_refused"
    http_status = 403


class TooManyUploadsError(CloudContentsError, ValueError):
    """More uploads at once, or more bytes under way, than this server allows a user."""

    code = "too_many_uploads"
    http_status = 429
    retryable = True


class TooLargeError(CloudContentsError, ValueError):
    """More bytes than a limit allows."""

    code = "too_large"
    http_status = 413


class QuotaError(CloudContentsError, OSError, RuntimeError):
    """The store, or the disk, is full."""

    code = "quota"
    http_status = 507


class RangeError(CloudContentsError, ValueError):
    """A byte range that the object does not have."""

    code = "bad_range"
    http_status = 416


class ChecksumError(CloudContentsError, ValueError):
    """Bytes that do not match their checksum."""

    code = "checksum"
    http_status = 400
    retryable = True


class LockedError(CloudContentsError):
    """Another operation is at work on the same thing."""

    code = "locked"
    http_status = 423
    retryable = True


class UnsupportedError(CloudContentsError, NotImplementedError):
    """The store cannot do this; its `Capabilities` say so."""

    code = "unsupported"
    http_status = 501
