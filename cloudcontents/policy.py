"""The least permissions that a bucket needs, written as each cloud takes them."""

from __future__ import annotations

import json

from .backends.buckets import MANAGE
from .config import StoreUrl, parse_url
from .errors import UnsupportedError

_S3_OBJECTS = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
_GCS = ("storage.objects.list", "storage.objects.get", "storage.objects.create", "storage.objects.delete")
_AZURE = ("read", "write", "add/action", "delete")

# Where the URL names no bucket: to list them, and to create and delete them.
_S3_BUCKETS = (("s3:ListAllMyBuckets",), ("s3:CreateBucket", "s3:DeleteBucket"))
_GCS_BUCKETS = (("storage.buckets.list",), ("storage.buckets.create", "storage.buckets.delete"))
_AZURE_CONTAINERS = (("read",), ("write", "delete"))


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
    if not url.bucket:
        return _s3_account(url)
    below = f"{url.prefix}/" if url.prefix else ""
    reach: dict[str, object] = {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": f"arn:aws:s3:::{url.bucket}"}
    if below:
        # Not the empty prefix: who may list that sees the name of every object in a bucket that many share.
        reach["Condition"] = {"StringLike": {"s3:prefix": [f"{below}*"]}}
    objects = {"Effect": "Allow", "Action": list(_S3_OBJECTS), "Resource": f"arn:aws:s3:::{url.bucket}/{below}*"}
    # How an upload is found whose beginning nobody recorded; not below a prefix, since this permission knows none.
    uploads = {"Effect": "Allow", "Action": ["s3:ListBucketMultipartUploads"], "Resource": f"arn:aws:s3:::{url.bucket}"}
    return {"Version": "2012-10-17", "Statement": [reach, objects] if below else [reach, objects, uploads]}


def _s3_account(url: StoreUrl) -> object:
    every = "arn:aws:s3:::*"
    buckets = ("s3:ListBucket", *(_S3_BUCKETS[1] if url.flag(MANAGE) else ()))
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": list(_S3_BUCKETS[0]), "Resource": "*"},
            {"Effect": "Allow", "Action": list(buckets), "Resource": every},
            {"Effect": "Allow", "Action": list(_S3_OBJECTS), "Resource": f"{every}/*"},
        ],
    }


def _gcs(url: StoreUrl) -> object:
    permissions = (*_on_buckets(url, _GCS_BUCKETS), *_GCS)
    role: dict[str, object] = {"title": "cloudcontents", "stage": "GA", "includedPermissions": list(permissions)}
    return role


def _azure(url: StoreUrl) -> object:
    account, _, container = url.bucket.partition("/")
    containers = "Microsoft.Storage/storageAccounts/blobServices/containers"
    scope = f"/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.Storage/storageAccounts/{account}"
    return {
        "Name": "cloudcontents",
        "Description": f"What cloudcontents needs of {'one container' if container else 'an account'}.",
        "Actions": [] if container else [f"{containers}/{action}" for action in _on_buckets(url, _AZURE_CONTAINERS)],
        "DataActions": [f"{containers}/blobs/{action}" for action in _AZURE],
        "AssignableScopes": [f"{scope}/blobServices/default/containers/{container}" if container else scope],
    }


def _on_buckets(url: StoreUrl, permissions: tuple[tuple[str, ...], tuple[str, ...]]) -> tuple[str, ...]:
    """Those on the buckets themselves; none where the URL names one (of Azure it always names the account)."""
    if url.scheme != "az" and url.bucket:
        return ()
    return (*permissions[0], *(permissions[1] if url.flag(MANAGE) else ()))
