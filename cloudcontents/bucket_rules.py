"""What a bucket's rules mean for a server on it: what is kept and billed, what cannot be deleted, what goes too early.

None of it is needed to work, so that a right which is lacking is a note.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from . import keys
from .backends.rules import BucketRules, Lifecycle
from .config import parse_url
from .inventory import Finding, Status

_ASKED = {
    "s3": ("cloudcontents.backends.s3_rules", "s3_rules"),
    "gs": ("cloudcontents.backends.gcs_rules", "gcs_rules"),
    "az": ("cloudcontents.backends.azure_rules", "azure_rules"),
}


async def look(url: str) -> list[Finding]:
    """Ask a cloud for its bucket's rules, and judge them; nothing where the store is no cloud's. Changes nothing.

    Raises:
        ConfigurationError: The URL cannot be used.
    """
    parsed = parse_url(url)
    if parsed.scheme not in _ASKED or not parsed.bucket or (parsed.scheme == "az" and "/" not in parsed.bucket):
        return []
    module, name = _ASKED[parsed.scheme]
    rules: BucketRules = await getattr(importlib.import_module(module), name)(parsed)
    return judge(rules, parsed.prefix)


def judge(rules: BucketRules, prefix: str) -> list[Finding]:
    """What to tell of them, for a server whose root is this prefix of the bucket."""
    found: list[Finding] = []

    def tell(check: str, status: Status, said: str, advice: str | None = None, **figures: object) -> None:
        found.append(Finding(check, status, said, advice, figures))

    if rules.versioning:
        if rules.older_versions_end is False:
            tell(
                "versioning",
                "note",
                "The bucket keeps every older version, and no rule ends them.",
                "Each save, and all that leaves the trash, stays and is billed. Let a lifecycle rule end older versions.",
            )
        else:
            tell("versioning", "ok", "The bucket keeps older versions of what is overwritten or deleted.")
    elif rules.versioning is False:
        tell("versioning", "ok", "The bucket keeps no older versions.")
    if rules.soft_delete_days:
        tell(
            "soft_delete",
            "note",
            f"What is overwritten or deleted is kept for {_days(rules.soft_delete_days)}, and billed as long.",
            "That is on top of the trash (c.CloudContentsManager.trash_days), checkpoints and pieces of uploads. Shorten one "
            "of them if it costs too much.",
            days=rules.soft_delete_days,
        )
    elif rules.soft_delete_days is not None:
        tell("soft_delete", "ok", "Soft delete is off.")
    if rules.locked_days or rules.held:
        how = (
            f"within {_days(rules.locked_days)} of their writing"
            if rules.locked_days
            else "while a hold or an immutability policy is on them"
        )
        tell(
            "retention",
            "problem",
            f"Objects can be neither overwritten nor deleted {how}.",
            "A file can be saved once and then no more. Use a bucket without such a policy, or show this one read-only in "
            "c.CloudContentsManager.mounts.",
            days=rules.locked_days or 0,
        )
    elif rules.locked_days is not None:
        tell("retention", "ok", "No retention policy holds objects.")
    if rules.version_lock:
        tell(
            "object_lock",
            "note",
            f"Every version of an object is locked {rules.version_lock}.",
            "Saving and deleting work, and each older version stays and is billed until then, those of checkpoints, trash and uploads too.",
        )
    elif rules.version_lock is not None:
        tell("object_lock", "ok", "Object lock is on, and locks nothing by itself.")
    _judge_lifecycle(rules, prefix, tell)
    if rules.untold:
        tell(
            "rules_untold",
            "note",
            f"The store did not tell: {'; '.join(rules.untold)}.",
            "The server needs none of it. Look yourself, or ask again with credentials that may.",
        )
    return found


def _judge_lifecycle(rules: BucketRules, prefix: str, say: Callable[..., None]) -> None:
    ours = keys.join(prefix, keys.RESERVED) + "/"
    touching = [rule for rule in rules.lifecycle if _touches(rule, ours)]
    for rule in touching:
        after = "deletes objects" if rule.action == "deletes" else "moves objects to where they cannot be read at once"
        say(
            "lifecycle",
            "note",
            f"The lifecycle rule {keys.show(rule.name)} {after} below {ours}.",
            "Checkpoints, trash, refused texts and uploads have an age of their own (c.CloudContentsManager, c.BucketCheckpoints). Give "
            "the rule a prefix that leaves them out, or expect them to go early.",
            prefixes=list(rule.prefixes),
        )
    if not touching and rules.older_versions_end is not None:
        say("lifecycle", "ok", "No lifecycle rule touches what the server keeps.")
    if rules.uploads_end is False:
        say(
            "unfinished_uploads",
            "note",
            "No lifecycle rule ends uploads that nobody finishes.",
            "A killed server can leave parts that nobody sees and somebody pays for. Add a rule that aborts incomplete multipart uploads "
            "after some days (more than the week that an upload may take).",
        )


def _touches(rule: Lifecycle, ours: str) -> bool:
    return any(ours.startswith(prefix) or prefix.startswith(ours) for prefix in rule.prefixes)


def _days(count: float) -> str:
    return f"{count:g} day{'' if count == 1 else 's'}" if count >= 1 else f"{count * 24:g} hours"
