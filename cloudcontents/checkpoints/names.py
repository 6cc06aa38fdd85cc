"""How a checkpoint is called: its id, its time, and the key it is stored under.

``20261121T075750123456Z-a1b2c3`` is made from the clock and chance, so that no request is needed to find a free one, ids sort by
time, and the time survives what moves the object. A checkpoint that somebody named is stored as ``name.20261121T075750123456Z``:
its id is the name, and its time moves along too.
"""

from __future__ import annotations

import re
import secrets
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ..errors import InvalidPathError
from ..keys import check_id, show

#: Longest name that a user may give: with all that is put around it, it fits into `cloudcontents.keys.RESERVED_BYTES`.
MAX_NAME = 48

_STAMP = "%Y%m%dT%H%M%S%fZ"
_UNDO = "-undo"
_MADE = re.compile(rf"(\d{{8}}T\d{{12}}Z)-[0-9a-f]{{6}}({_UNDO})?\Z", re.ASCII)
_NAMED = re.compile(r"([A-Za-z0-9][\w-]*)\.(\d{8}T\d{12}Z)\Z", re.ASCII)

_clock = threading.Lock()
_last = datetime.min.replace(tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint of one file.

    Attributes:
        id: As the Contents API shows it.
        made: When, UTC, to the microsecond.
        leaf: Last segment of its key.
        size: Bytes, or None where the listing did not say.
        named: Whether somebody gave it its name; retention leaves it alone.
        undo: Whether it is what a restore replaced, kept so that the restore can be undone.
    """

    id: str
    made: datetime
    leaf: str
    size: int | None = None
    named: bool = False
    undo: bool = False

    @property
    def model(self) -> dict[str, Any]:
        """What the Contents API tells of it: ``id`` and ``last_modified``, whole seconds."""
        return {"id": self.id, "last_modified": self.made.replace(microsecond=0)}


def new_checkpoint(*, undo: bool = False) -> Checkpoint:
    """A checkpoint with a fresh id, later than every other that this process made, even if its clock was set back."""
    global _last
    with _clock:
        made = _last = max(datetime.now(timezone.utc), _last + timedelta(microseconds=1))
    identifier = f"{made.strftime(_STAMP)}-{secrets.token_hex(3)}{_UNDO if undo else ''}"
    return Checkpoint(identifier, made, identifier, undo=undo)


def parse_leaf(leaf: str, size: int | None = None) -> Checkpoint | None:
    """The checkpoint behind the last segment of a key, or None where it is none of ours."""
    named = _NAMED.match(leaf)
    made = _MADE.match(leaf)
    if named:
        name, stamp, undo = named[1], named[2], False
    elif made:
        name, stamp, undo = leaf, made[1], made[2] is not None
    else:
        return None
    try:
        when = datetime.strptime(stamp, _STAMP).replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return Checkpoint(name, when, leaf, size, named is not None, undo)


def made_by_us(identifier: str) -> bool:
    """Whether an id is one of `new_checkpoint`, and so the last segment of its own key."""
    return _MADE.match(identifier) is not None


def with_name(checkpoint: Checkpoint, name: str) -> Checkpoint:
    """The same checkpoint under a name that somebody chose.

    Raises:
        InvalidPathError: Not a name (ASCII letters, digits, ``_`` and ``-``), too long, or one that looks like an id of ours.
    """
    check_id(name, "checkpoint name")
    if len(name) > MAX_NAME:
        raise InvalidPathError(f"{show(name)} is too long: a checkpoint's name has at most {MAX_NAME} characters.")
    if made_by_us(name):
        raise InvalidPathError(f"{show(name)} looks like an id that was made automatically; use another name.")
    return Checkpoint(name, checkpoint.made, f"{name}.{checkpoint.made.strftime(_STAMP)}", checkpoint.size, named=True)
