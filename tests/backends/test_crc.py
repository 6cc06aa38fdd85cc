"""The CRC of a whole by those of its pieces."""

import random
import zlib

import google_crc32c
import pytest

from cloudcontents.crc import CRC32, CRC32C, combined


@pytest.mark.parametrize(("polynomial", "crc"), [(CRC32, zlib.crc32), (CRC32C, google_crc32c.value)])
def test_it_is_that_of_the_bytes(polynomial, crc):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(50):
        pieces = [chance.randbytes(chance.choice([0, 1, 7, 1000, 65_537])) for _ in range(chance.randrange(7))]
        assert combined([(crc(piece), len(piece)) for piece in pieces], polynomial=polynomial) == crc(b"".join(pieces))


def test_it_tells_the_order_and_a_piece_that_is_missing():
    pieces = [(zlib.crc32(data), len(data)) for data in (b"one", b"two", b"three")]
    whole = combined(pieces, polynomial=CRC32)
    assert whole == zlib.crc32(b"onetwothree")
    assert combined(pieces[::-1], polynomial=CRC32) != whole
    assert combined(pieces[:2], polynomial=CRC32) != whole
