"""Ids of checkpoints: fresh, sortable, and read back to the same time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest

from cloudcontents.checkpoints import names
from cloudcontents.checkpoints.names import made_by_us, new_checkpoint, parse_leaf, with_name
from cloudcontents.errors import InvalidPathError
from cloudcontents.keys import RESERVED_BYTES, companion_prefix


def test_an_id_fits_the_route_and_reads_back():
    made = new_checkpoint()
    assert re.fullmatch(r"[\w-]+", made.id)
    assert made_by_us(made.id)
    assert parse_leaf(made.leaf) == made
    assert parse_leaf(new_checkpoint(undo=True).leaf).undo


def test_ids_rise_even_when_the_clock_is_set_back(monkeypatch):
    class Back(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(days=1)

    first = new_checkpoint()
    monkeypatch.setattr(names, "datetime", Back)
    ids = [first.id, *(new_checkpoint().id for _ in range(50))]
    assert ids == sorted(ids)
    assert len(set(ids)) == 51


def test_a_model_has_whole_seconds_utc():
    model = new_checkpoint().model
    assert set(model) == {"id", "last_modified"}
    assert model["last_modified"].microsecond == 0
    assert model["last_modified"].utcoffset() == timedelta(0)


def test_a_name_keeps_the_time():
    made = new_checkpoint()
    named = with_name(made, "before_the-change")
    assert (named.id, named.made, named.named) == ("before_the-change", made.made, True)
    assert parse_leaf(named.leaf) == named


@pytest.mark.parametrize("name", ["", "a b", "a/b", "..", "a.b", "-a", "é", "x" * 49, "20261121T075750123456Z-a1b2c3"])
def test_names_that_cannot_be(name):
    with pytest.raises(InvalidPathError):
        with_name(new_checkpoint(), name)


@pytest.mark.parametrize("leaf", ["", "x", "20261121T075750123456Z", "20269921T075750123456Z-a1b2c3", "x.y", "x.20261121T075750Z"])
def test_what_is_not_ours_is_passed_over(leaf):
    assert parse_leaf(leaf) is None


def test_what_is_put_around_a_path_fits_into_its_reserve():
    longest = max(len(new_checkpoint(undo=True).leaf), len(with_name(new_checkpoint(), "x" * names.MAX_NAME).leaf))
    assert len(companion_prefix("checkpoints", "p")) - 1 + longest <= RESERVED_BYTES


def test_times_are_utc():
    assert abs(new_checkpoint().made - datetime.now(timezone.utc)) < timedelta(days=1, minutes=1)
