"""What a Google bucket's owner has ordered: versioning, soft delete, retention, holds, lifecycle. One request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from cloudcontents.config import StoreUrl
from cloudcontents.errors import CloudContentsError

from .gcs_client import GcsClient
from .gcs_errors import failure
from .rules import BucketRules, Lifecycle
from .sdk import SdkThreads

_DAY = 86400


async def gcs_rules(url: StoreUrl) -> BucketRules:
    """Ask. What may not be asked stays untold.

    Raises:
        ConfigurationError: The URL cannot be used.
    """
    client, threads = GcsClient(url), SdkThreads("gcs-rules")
    fields = {"fields": "versioning,softDeletePolicy,retentionPolicy,defaultEventBasedHold,lifecycle"}

    def ask() -> Mapping[str, Any]:
        try:
            return client.json("GET", f"/storage/v1/b/{quote(url.bucket, safe='')}", fields)
        except Exception as error:
            raise failure(error) from error

    try:
        told = await threads.run(ask)
    except CloudContentsError:
        return BucketRules(untold=["storage.buckets.get"])
    finally:
        await threads.run(client.close)
        await threads.close()
    return _rules(told)


def _rules(told: Mapping[str, Any]) -> BucketRules:
    found = BucketRules(
        versioning=bool(told.get("versioning", {}).get("enabled")),
        soft_delete_days=int(told.get("softDeletePolicy", {}).get("retentionDurationSeconds", 0)) / _DAY,
        locked_days=int(told.get("retentionPolicy", {}).get("retentionPeriod", 0)) / _DAY,
        held=bool(told.get("defaultEventBasedHold")),
        older_versions_end=False,
    )
    for number, rule in enumerate(told.get("lifecycle", {}).get("rule", []), 1):
        condition, action = rule.get("condition", {}), rule.get("action", {}).get("type")
        prefixes = tuple(condition.get("matchesPrefix") or [""])
        # An older version is not live, and has newer ones.
        if condition.get("isLive") is False or condition.get("numNewerVersions") or condition.get("daysSinceNoncurrentTime"):
            found.older_versions_end = found.older_versions_end or (action == "Delete" and prefixes == ("",))
        elif action == "Delete" and not condition.get("matchesSuffix"):
            found.lifecycle.append(Lifecycle(f"number {number}", prefixes, "deletes"))
    return found
