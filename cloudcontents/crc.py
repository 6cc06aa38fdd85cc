"""The CRC of a whole by those of its pieces, without reading a byte again.

A CRC is a remainder of polynomials over two elements. Behind a piece of n bytes the remainder of what came before is that times x to the
power of 8n, so the pieces' own CRCs and lengths suffice; see Mark Adler's ``crc32_combine`` in zlib for the mathematics.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

#: The polynomials, without their highest term and with the lowest power in the highest bit, as CRCs of 32 bits are written.
CRC32, CRC32C = 0xEDB88320, 0x82F63B78

_ONE = 1 << 31


def combined(pieces: Iterable[tuple[int, int]], *, polynomial: int) -> int:
    """The CRC of all pieces in a row; 0, that of no bytes, for none.

    Args:
        pieces: CRC and length in bytes of each, in order.
        polynomial: `CRC32` or `CRC32C`.
    """
    whole = 0
    for crc, size in pieces:
        whole = _product(_shift(size, polynomial), whole, polynomial) ^ crc
    return whole


@lru_cache(maxsize=64)
def _shift(size: int, polynomial: int) -> int:
    """What `size` bytes multiply by all that is before them: x to the power of 8 * size."""
    power, square = _ONE, _ONE >> 8
    while size:
        if size & 1:
            power = _product(square, power, polynomial)
        square = _product(square, square, polynomial)
        size >>= 1
    return power


def _product(one: int, other: int, polynomial: int) -> int:
    product, bit = 0, _ONE
    while one:
        if one & bit:
            product ^= other
            one ^= bit
        bit >>= 1
        other = (other >> 1) ^ polynomial if other & 1 else other >> 1
    return product
