"""What a reader's `start` and `length` mean for an object of a known size."""

from __future__ import annotations

from cloudcontents.errors import RangeError


def resolve_range(size: int, start: int, length: int | None) -> tuple[int, int]:
    """Return the first byte and the number of bytes to read.

    Args:
        size: The object's size.
        start: First byte; negative counts from the end and stops at the first byte.
        length: Bytes wanted; None, or more than there are, means up to the end.

    Raises:
        RangeError: `start` is at or past the end (0 of an empty object is fine), or `length` is negative.
    """
    if length is not None and length < 0:
        raise RangeError("A range's length cannot be negative.")
    first = max(size + start, 0) if start < 0 else start
    if first >= size and first > 0:
        raise RangeError(f"The range starts at byte {first}, and the object has {size} bytes.")
    return first, size - first if length is None else min(length, size - first)
