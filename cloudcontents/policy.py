"""The least permissions that a bucket needs, written as each cloud takes them."""

from __future__ import annotations

import json

from .config import StoreUrl, parse_url
from .errors import UnsupportedError

_S3_OBJECTS = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
_GCS = ("storage.objects.list", "storage.objects.get", "storage.objects.create", "storage.objects.delete")
_AZURE = ("read", "write", "add/action", "delete")


def least_policy(url: str) -> str:
    """The policy, role or role definition for a bucket URL, to paste. No request is made.

    Raises:
        ConfigurationError: Not a bucket URL.
        UnsupportedError: A store that has no such thing.
    """
    parsed = parse_url(url)
    writers = {"s3": _s3, "gs": _gcs, "az": _azure}
    if parsed.scheme not in writers:
        raise UnsupportedError(f"There is no policy for {parsed.scheme}://; known: {', '.join(f'{name}://' for name in writers)}.")
    return json.dumps(writers[parsed.scheme](parsed), indent=2)


def _s3(url: StoreUrl) -> object:
    below = f"{url.prefix}/" if url.prefix else ""
    reach: dict[str, object] = {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": f"arn:aws:s3:::{url.bucket}"}
    if below:
        # The empty prefix is listed, for one key, where a first request fails without saying why.
        reach["Condition"] = {"StringLike": {"s3:prefix": ["", f"{below}*"]}}
    objects = {"Effect": "Allow", "Action": list(_S3_OBJECTS), "Resource": f"arn:aws:s3:::{url.bucket}/{below}*"}
    return {"Version": "2012-10-17", "Statement": [reach, objects]}


def _gcs(url: StoreUrl) -> object:
    role: dict[str, object] = {"title": "cloudcontents", "stage": "GA", "includedPermissions": list(_GCS)}
    return role


def _azure(url: StoreUrl) -> object:
    account, _, container = url.bucket.partition("/")
    blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
    scope = (
        "/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.Storage/storageAccounts/"
        f"{account}/blobServices/default/containers/{container}"
    )
    return {
        "Name": "cloudcontents",
        "Description": "What cloudcontents needs of one container.",
        "Actions": [],
        "DataActions": [f"{blobs}/{action}" for action in _AZURE],
        "AssignableScopes": [scope],
    }
