"""The corpus of names says what `keys.clean` does, and is as large as it claims."""

import pytest

from cloudcontents.errors import InvalidPathError, OutsideRootError
from cloudcontents.keys import check_new, clean
from cloudcontents.testing import CORPUS


def test_there_are_enough_and_none_twice():
    raws = [name.raw for name in CORPUS]
    assert len(raws) >= 150
    assert len(raws) == len(set(raws))


@pytest.mark.parametrize("name", CORPUS, ids=lambda name: f"{name.group}-{name.raw[:30]!a}")
def test_expectation(name):
    if name.expect == "not-found":
        with pytest.raises(OutsideRootError):
            clean(name.raw)
    elif name.expect == "refuse":
        with pytest.raises(InvalidPathError) as caught:
            check_new(name.raw, max_bytes=4000)
        assert not isinstance(caught.value, OutsideRootError)
    else:
        kept = clean(name.raw)
        assert name.raw in (kept, f"/{kept}", f"{kept}/", f"/{kept}/")
