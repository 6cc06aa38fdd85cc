"""What lies in a bucket that its owner may want to know of: names that no path can hold, and what was left unfinished."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

from . import keys
from .backends.interface import ObjectInfo
from .bucket import Bucket
from .lookup import MARKER_NAMES, MARKER_SUFFIX

Status = Literal["ok", "note", "problem"]

#: Keys that are looked at, at the most; 1,000 of them are one request.
LIMIT = 1_000_000

_DAY = 86400.0

# What is kept under the reserved prefix, how long, and what it is called where it is older.
_KEPT = {
    "journal": (600.0, "unfinished renames, copies or deletions", "A server that starts on this bucket finishes them."),
    "tmp": (_DAY, "temporary files of writes that were cut off", "A running server sweeps them."),
    "chunks": (_DAY, "pieces of saves that never ended", "A running server sweeps them."),
    "uploads": (8 * _DAY, "abandoned uploads", "A running server sweeps them."),
    "trash": (8 * _DAY, "objects in the trash for more than a week", "A running server sweeps them, or: cloudcontents trash empty URL"),
    "conflicts": (31 * _DAY, "texts of refused saves kept for more than a month", "See them: cloudcontents conflicts ls URL"),
    "copies": (8 * _DAY, "records of `cloudcontents cp` that was cut off", "Run the same command again, or delete .cloudcontents/copies/."),
    "doctor": (3600.0, "scratch objects of an examination that was cut off", "Delete .cloudcontents/doctor/ by hand."),
}
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question.

    Attributes:
        check: Names the question, for programs.
        status: ``ok``; ``note``: nothing fails, but somebody may want to know; ``problem``: something will fail.
        said: What was found.
        advice: What to do, or None.
        figures: The numbers behind it.
    """

    check: str
    status: Status
    said: str
    advice: str | None = None
    figures: dict[str, Any] = field(default_factory=dict)


class _Count:
    def __init__(self) -> None:
        self.objects = 0
        self.bytes = 0
        self.unnameable: list[str] = []
        self.unnameable_count = 0
        self.markers: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        self.nested: set[str] = set()
        self.both: list[str] = []
        self._files: list[str] = []
        self._now = datetime.now(timezone.utc)

    def see(self, info: ObjectInfo) -> None:
        """Count one object; they come in the order of their keys."""
        key = info.key
        head, _, rest = key.partition("/")
        if keys.is_reserved_segment(head):
            kind = rest.partition("/")[0]
            limit = _KEPT.get(kind, (None,))[0]
            if limit is not None and not key.endswith("/") and self._age(kind, rest, info) > limit:
                self.left[kind] += 1
            return
        if keys.is_reserved(key):
            self.nested.add(key[: key.casefold().index(f"/{keys.RESERVED}/")])
            return
        self.objects += 1
        self.bytes += info.size or 0
        if not keys.is_nameable(key):
            self.unnameable_count += 1
            if len(self.unnameable) < _EXAMPLES:
                self.unnameable.append(keys.show(key))
            return
        name = keys.split(key)[1]
        for ending in ("/", *MARKER_NAMES, MARKER_SUFFIX):
            if key.endswith(ending) if ending in ("/", MARKER_SUFFIX) else name == ending:
                self.markers[ending] += 1
                self.objects -= 1
        # Between "d" and "d/f" only keys come that start with "d".
        while self._files and not key.startswith(self._files[-1]):
            self._files.pop()
        if self._files and key.startswith(f"{self._files[-1]}/"):
            if len(self.both) < _EXAMPLES:
                self.both.append(keys.show(self._files[-1]))
            self._files.pop()
        if not key.endswith("/"):
            self._files.append(key)

    def _age(self, kind: str, rest: str, info: ObjectInfo) -> float:
        stamp = rest.partition("/")[2][:20]
        if kind == "trash" and stamp.isdecimal():
            # What is in the trash keeps its own time; its entry's name holds the time of deletion.
            return self._now.timestamp() - int(stamp) / 1e9
        return (self._now - info.modified).total_seconds()


async def take(bucket: Bucket) -> list[Finding]:
    """Go through the keys of a bucket once; 1,000 of them are one request, and none is read.

    Raises:
        CloudContentsError: The listing failed.
    """
    count = _Count()
    seen = 0
    async for info in bucket.objects(""):
        count.see(info)
        seen += 1
        if seen >= LIMIT:
            break
    found = [
        Finding(
            "contents",
            "ok",
            f"{count.objects:,} objects, {count.bytes:,} bytes"
            + (f"; only the first {LIMIT:,} keys were looked at." if seen >= LIMIT else "."),
            None,
            {"objects": count.objects, "bytes": count.bytes, "complete": seen < LIMIT},
        )
    ]
    hidden = await asyncio.to_thread(_hidden, bucket.local_path(""))
    if count.unnameable_count or hidden:
        examples = ", ".join([*count.unnameable, *hidden][:_EXAMPLES])
        total = count.unnameable_count + len(hidden)
        found.append(
            Finding(
                "unnameable",
                "note",
                f"{total:,} names that Jupyter cannot show, such as {examples}.",
                "They are left alone, and move or go only with their directory. Rename them with the store's own tools to see them.",
                {"count": total},
            )
        )
    else:
        found.append(Finding("unnameable", "ok", "Every name can be shown.", None, {"count": 0}))
    if count.both:
        found.append(
            Finding(
                "file_and_directory",
                "note",
                f"Names that are both a file and a directory: {', '.join(count.both)}.",
                "The directory is shown. Rename the file with the store's own tools to see it.",
                {"examples": count.both},
            )
        )
    if count.markers:
        said = ", ".join(f"{number:,} × {ending}" for ending, number in sorted(count.markers.items()))
        found.append(Finding("markers", "ok", f"Directory markers: {said}. They are shown as directories.", None, dict(count.markers)))
    if count.nested:
        some = ", ".join(keys.show(name) for name in sorted(count.nested)[:_EXAMPLES])
        found.append(
            Finding(
                "roots_below",
                "note",
                f"Other servers have their root in this bucket, at {some}.",
                "That is fine. Their trash, checkpoints and conflicts are their own, and are not shown here.",
                {"count": len(count.nested)},
            )
        )
    for kind, number in sorted(count.left.items()):
        _, what, advice = _KEPT[kind]
        found.append(Finding(f"left_{kind}", "note", f"{number:,} {what}.", advice, {"count": number}))
    if not count.left:
        found.append(Finding("leftovers", "ok", "Nothing was left unfinished."))
    return found


def _hidden(top: str | None) -> list[str]:
    """Links, special files and names that are not text, in a directory of this machine: no listing of the bucket has them."""
    if top is None:
        return []
    found: list[str] = []
    for directory, below, files in os.walk(top):
        below[:] = [name for name in below if not keys.is_reserved_segment(name)]
        for name in (*below, *files):
            at = os.path.join(directory, name)
            if not keys.is_nameable(name) or os.path.islink(at) or not (os.path.isdir(at) or os.path.isfile(at)):
                found.append(keys.show(os.path.relpath(at, top)))
    return found
