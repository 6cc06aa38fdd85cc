"""The settings of uploads: traits of `CloudContentsManager`."""

from __future__ import annotations

from typing import Any as AnyType

from traitlets import Any, Bool, Float, HasTraits, Int, List, TraitError, Unicode, validate
from traitlets.utils.importstring import import_item

from .limits import Limits


class UploadSettings(HasTraits):
    """What may be uploaded, how long an upload waits, and who is told. Mixed into the manager."""

    max_upload_size = Int(
        5 * 2**30, min=0, config=True, help="Largest file, in bytes, that is uploaded in pieces. 0: as large as the store takes."
    )
    max_uploads = Int(1000, min=0, config=True, help="Uploads of one user at once; of all users, where they have no names. 0: no limit.")
    max_pending_upload_size = Int(0, min=0, config=True, help="Bytes of one user's uploads under way together. 0: no limit.")
    allowed_upload_types = List(
        Unicode(), config=True, help="MIME types, told by the first bytes, that are taken; with *, as in image/*. None: all."
    )
    denied_upload_types = List(Unicode(), config=True, help="MIME types, told by the first bytes, that are refused.")
    upload_expire_hours = Float(
        24, min=0, max=168, config=True, help="Hours after the last byte after which an unfinished upload is given up; at most 7 days."
    )
    keep_abandoned_uploads = Bool(
        False,
        config=True,
        help="""Keep what had arrived of an upload that is given up as a recovered file. On S3 and Azure each upload is then copied
        once more within the store.""",
    )
    recovered_upload_days = Float(7, min=0, config=True, help="Days for which recovered files are kept.")
    upload_interim_responses = Bool(
        False,
        config=True,
        help="""Answer uploads in the IETF's draft with interim responses (104), too: where the upload is, and how far. Only where no proxy
        is in between that takes them for the answer; nginx 1.22 does.""",
    )
    pre_upload_hook = Any(
        None,
        allow_none=True,
        config=True,
        help="""Called before an upload begins, with path, size, content_type, metadata and owner; refuses it by raising. A callable, also
        async, or its import name.""",
    )
    post_upload_hook = Any(
        None,
        allow_none=True,
        config=True,
        help="""Called in the background once an uploaded file is there, with path, size, version, metadata and owner. A callable, also
        async, or its import name.""",
    )

    @validate("pre_upload_hook", "post_upload_hook")
    def _validate_hook(self, proposal: AnyType) -> AnyType:
        value = proposal["value"]
        if isinstance(value, str):
            value = import_item(value)
        if value is not None and not callable(value):
            raise TraitError("an upload hook is a callable, or the import name of one")
        return value

    def upload_limits(self) -> Limits:
        """The limits among them."""
        return Limits(
            max_bytes=self.max_upload_size,
            max_active=self.max_uploads,
            max_pending_bytes=self.max_pending_upload_size,
            allowed_types=tuple(self.allowed_upload_types),
            denied_types=tuple(self.denied_upload_types),
        )
