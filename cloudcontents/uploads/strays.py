"""What no record names: parts and tails that came in while their upload was being ended, or whose server died in that moment."""

from __future__ import annotations

import contextlib

from .. import keys
from ..backends.multipart import Upload
from ..bucket import Bucket
from ..moves import delete_prefix
from ..parts import Parts
from .tail import Tail

_PARTS = keys.reserved_key("uploads", "parts") + "/"
_TAILS = keys.reserved_key("uploads", "tails") + "/"

#: What is put behind an upload's id where its parts become an object of its own first.
WHOLE = "-whole"


async def find_strays(bucket: Bucket) -> set[str]:
    """The ids of all uploads of which parts or tails are in the store.

    Since a record is written before anything else of its upload, an id without a record that is asked for afterwards is a stray.
    """
    found: set[str] = set()
    for prefix in (_PARTS, _TAILS):
        async with contextlib.aclosing(bucket.pages(prefix, delimiter="/")) as pages:
            async for page in pages:
                names = [*(info.key for info in page.prefixes), *(info.key for info in page.objects)]
                found |= {name.removeprefix(prefix).rstrip("/").removesuffix(WHOLE) for name in names}
    return found - {""}


async def remove_strays(bucket: Bucket, ids: set[str]) -> None:
    """Remove what is there of these uploads. Safe to repeat."""
    parts = Parts(bucket)
    for id in ids:
        place = f"{_PARTS}{id}"
        # Names that the store itself gave to such uploads went with their records; this takes what lies at their places.
        if parts.are_readable:
            await parts.abort(Upload(place, place, "", 0))
        await delete_prefix(bucket, f"{place}/")
        await bucket.delete(f"{place}{WHOLE}")
        await Tail(bucket, id).clear()
