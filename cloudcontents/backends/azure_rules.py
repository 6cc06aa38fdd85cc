"""What an Azure container's owner has ordered: soft delete, immutability, legal holds.

Versioning and lifecycle rules are the resource manager's, and no storage credential may ask for them.
"""

from __future__ import annotations

from cloudcontents.config import StoreUrl
from cloudcontents.errors import CloudContentsError

from .azure_client import AzureConnection
from .rules import BucketRules


async def azure_rules(url: StoreUrl) -> BucketRules:
    """Ask. What may not be asked stays untold.

    Raises:
        ConfigurationError: The URL cannot be used.
    """
    store, found = AzureConnection(url), BucketRules(untold=["versioning and lifecycle rules (in the portal: Data management)"])
    try:
        try:
            retention = (await store.call_account(lambda service: service.get_service_properties()))["delete_retention_policy"]
            found.soft_delete_days = float(retention.days or 0) if retention is not None and retention.enabled else 0.0
        except CloudContentsError:
            found.untold.append("soft delete (the account's key may ask)")
        try:
            container = await store.call(lambda container: container.get_container_properties())
            found.held = bool(container.has_immutability_policy or container.has_legal_hold)
            if getattr(container, "immutable_storage_with_versioning_enabled", False):
                found.version_lock = ""
        except CloudContentsError:
            found.untold.append("immutability (Microsoft.Storage/storageAccounts/blobServices/containers/read)")
    finally:
        await store.close()
    return found
