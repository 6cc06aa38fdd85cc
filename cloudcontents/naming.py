"""Names for new files and copies: ``Untitled1.ipynb``, ``data-Copy2.csv``."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import AsyncGenerator, Sequence

from jupyter_server.services.contents.manager import copy_pat

from . import keys
from .namespace import Location

#: How many names are tried when others keep taking the one just found free.
_TRIES = 100


async def free_names(directory: Location, name: str, insert: str, *, fixed: Sequence[str] = ()) -> AsyncGenerator[str, None]:
    """API paths that were free when the directory was looked at, in the order of the numbers in them; one listing, however many are taken.

    Whoever takes one takes it by a conditional create, and goes on to the next where somebody else was faster.

    Args:
        directory: Where.
        name: The name wanted; it comes first where it is free.
        insert: What stands between the name and the number.
        fixed: Names taken there by mounts.
    """
    stem, suffix = _split(name)
    prefix = keys.as_prefix(directory.path) + stem
    taken = {keys.join(directory.path, other) for other in fixed}
    async with contextlib.aclosing(directory.bucket.pages(prefix, delimiter="/")) as pages:
        async for page in pages:
            taken.update(info.key for info in page.objects)
            taken.update(common.key.removesuffix("/") for common in page.prefixes)
    numbered = (f"{prefix}{f'{insert}{i}' if i else ''}{suffix}" for i in itertools.count())
    for candidate in itertools.islice((path for path in numbered if path not in taken), _TRIES):
        yield keys.join(directory.mount.name, candidate)


def copy_name(name: str, *, directory: bool) -> str:
    """A name without the ``-Copy1`` of an earlier copy."""
    return re.sub(r"-Copy\d*$", "", name) if directory else copy_pat.sub(".", name)


def _split(name: str) -> tuple[str, str]:
    """Where a number goes into a name: before the first dot, in a notebook's before the last."""
    stem, dot, suffix = name.rpartition(".")
    if suffix != "ipynb":
        stem, dot, suffix = name.partition(".")
    return stem, dot + suffix
