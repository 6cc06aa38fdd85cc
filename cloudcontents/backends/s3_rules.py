"""What an S3 bucket's owner has ordered: versioning, Object Lock, lifecycle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cloudcontents.config import StoreUrl
from cloudcontents.errors import CloudContentsError

from .rules import BucketRules, Lifecycle
from .s3_client import S3Client, S3Connection

#: Storage classes that an object must be fetched from before it can be read.
_COLD = ("GLACIER", "DEEP_ARCHIVE")
#: What the store says where nothing was ordered.
_NOTHING = ("NoSuchLifecycleConfiguration", "ObjectLockConfigurationNotFoundError", "ObjectLockConfigurationNotFound")


async def s3_rules(url: StoreUrl) -> BucketRules:
    """Ask. What may not be asked stays untold.

    Raises:
        ConfigurationError: The URL cannot be used.
    """
    store = S3Connection(url)
    found = BucketRules()
    arguments = {"Bucket": url.bucket}

    async def ask(right: str, call: Callable[[S3Client], Any]) -> Mapping[str, Any] | None:
        def attempt(s3: S3Client) -> Any:
            try:
                return call(s3)
            except s3.exceptions.ClientError as error:
                if error.response.get("Error", {}).get("Code") in _NOTHING:
                    return {}
                raise

        try:
            told: Mapping[str, Any] = await store.call(attempt)
        except CloudContentsError:
            found.untold.append(right)
            return None
        return told

    try:
        versioning = await ask("s3:GetBucketVersioning", lambda s3: s3.get_bucket_versioning(**arguments))
        if versioning is not None:
            found.versioning = versioning.get("Status") == "Enabled"
        lock = await ask("s3:GetBucketObjectLockConfiguration", lambda s3: s3.get_object_lock_configuration(**arguments))
        if lock is not None:
            found.version_lock = _lock(lock.get("ObjectLockConfiguration", {}))
        rules = await ask("s3:GetLifecycleConfiguration", lambda s3: s3.get_bucket_lifecycle_configuration(**arguments))
        if rules is not None:
            _read(rules.get("Rules", []), found)
    finally:
        await store.close()
    return found


def _lock(told: Mapping[str, Any]) -> str | None:
    if told.get("ObjectLockEnabled") != "Enabled":
        return None
    default = told.get("Rule", {}).get("DefaultRetention", {})
    for unit in ("Days", "Years"):
        if default.get(unit):
            return f"for {default[unit]} {unit.lower() if default[unit] > 1 else unit.lower()[:-1]}"
    return ""


def _read(rules: list[Mapping[str, Any]], found: BucketRules) -> None:
    found.uploads_end = found.older_versions_end = False
    for rule in rules:
        if rule.get("Status") != "Enabled":
            continue
        condition = rule.get("Filter") or {}
        condition = condition.get("And") or condition
        prefix = condition.get("Prefix", rule.get("Prefix", ""))
        if not prefix:
            found.uploads_end = found.uploads_end or "AbortIncompleteMultipartUpload" in rule
            found.older_versions_end = found.older_versions_end or "NoncurrentVersionExpiration" in rule
        if condition.get("Tag") or condition.get("Tags"):
            continue  # nothing of ours has a tag
        name = rule.get("ID") or "without a name"
        if {"Days", "Date"} & rule.get("Expiration", {}).keys():
            found.lifecycle.append(Lifecycle(name, (prefix,), "deletes"))
        if any(step.get("StorageClass") in _COLD for step in rule.get("Transitions", [])):
            found.lifecycle.append(Lifecycle(name, (prefix,), "archives"))
