"""Arithmetic of an upload: how large its parts are, which of them are good, and where it goes on. No request, no state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..backends.multipart import Part, PartRules
from ..errors import TooLargeError

MIB = 2**20

#: Bytes of a part where nothing asks for more: the most that is sent again after an interruption.
PART = 8 * MIB

#: Share of a store's part numbers that a plan uses; the rest is room for a file that grows while it is sent.
_SPARE = 0.95


def part_size(rules: PartRules, size: int | None, *, most: int, wanted: int | None = None) -> int:
    """Bytes of each part but the last, fixed for the life of the upload.

    Args:
        rules: What the store asks for.
        size: Bytes of the file, or None where that is not known yet.
        most: Bytes that it may have at the most then.
        wanted: What the caller would like; taken where it can be.

    Raises:
        TooLargeError: The store has no room for so many bytes in parts.
    """
    expected = size if size is not None else most
    least = -(-expected // max(int(rules.most * _SPARE), 1))
    chosen = max(wanted or PART, rules.min_bytes, least)
    if wanted is None:
        chosen = -(-chosen // MIB) * MIB
    if chosen > rules.max_bytes:
        raise TooLargeError(f"This store takes uploads of at most {rules.max_bytes * rules.most} bytes.")
    return chosen


def count(size: int, each: int) -> int:
    """How many parts a file has; none where it is empty."""
    return -(-size // each)


def expected_size(number: int, each: int, size: int | None) -> int:
    """Bytes that a part must have; 0 for a number that is none of this file's."""
    if size is None:
        return each
    return max(0, min(each, size - (number - 1) * each))


def choose(listed: Iterable[Part], confirmed: Mapping[int, Part], each: int, size: int | None) -> dict[int, Part]:
    """The parts that count, of all that a store lists.

    A part of another size than its place asks for does not count. Where a store holds several of one number, the one that this process saw
    confirmed counts; without such knowledge none does, for nobody can tell which bytes the client meant.
    """
    by_number: dict[int, list[Part]] = {}
    for part in listed:
        if part.size and part.size == expected_size(part.number, each, size):
            by_number.setdefault(part.number, []).append(part)
    chosen: dict[int, Part] = {}
    for number, candidates in by_number.items():
        known = confirmed.get(number)
        mine = [part for part in candidates if known is not None and part.version == known.version]
        if mine:
            chosen[number] = mine[0]
        elif len({part.checksum or part.version for part in candidates}) == 1:
            chosen[number] = candidates[-1]
    return chosen


def run(parts: Mapping[int, Part]) -> int:
    """Number of the last part of the run that begins at 1 without a gap; 0 where part 1 is missing."""
    number = 0
    while number + 1 in parts:
        number += 1
    return number


def needed(parts: Mapping[int, Part], each: int, size: int) -> list[int]:
    """Numbers of the parts that are still to come."""
    return [number for number in range(1, count(size, each) + 1) if number not in parts]
