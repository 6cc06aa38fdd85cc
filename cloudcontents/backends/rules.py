"""What a bucket's owner has ordered of it, in the terms of no store in particular: versions, locks, retention, lifecycle."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """One rule by which objects go, or become unreadable, with time.

    Attributes:
        name: What its owner calls it.
        prefixes: It holds for keys that start with one of these.
        action: What it does: "deletes", or "archives" (they cannot be read at once any more).
    """

    name: str
    prefixes: tuple[str, ...]
    action: str


@dataclass(slots=True)
class BucketRules:
    """What the store tells. None: it did not.

    Attributes:
        versioning: Whether older versions are kept of what is overwritten or deleted.
        older_versions_end: Whether a rule ends those some day.
        soft_delete_days: For how long deleted objects are kept; 0: not at all.
        locked_days: Objects younger than this can be neither overwritten nor deleted; 0: all can.
        held: Whether a hold without an end is on the bucket, or comes with each new object.
        version_lock: Whether versions may be locked, so that they stay when their object is deleted; days where that is the default.
        lifecycle: Rules that touch objects in use.
        uploads_end: Whether a rule ends uploads that nobody finishes; None also where the store needs none.
        untold: What could not be asked, and the right that it needs.
    """

    versioning: bool | None = None
    older_versions_end: bool | None = None
    soft_delete_days: float | None = None
    locked_days: float | None = None
    held: bool = False
    version_lock: str | None = None
    lifecycle: list[Lifecycle] = field(default_factory=list)
    uploads_end: bool | None = None
    untold: list[str] = field(default_factory=list)
