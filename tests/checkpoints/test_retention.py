"""The retention policy: a pure function."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudcontents.checkpoints.names import Checkpoint
from cloudcontents.checkpoints.retention import Retention, order

NOW = datetime(2026, 3, 31, 12, 0, tzinfo=timezone.utc)


def made(hours_ago: float, *, named: bool = False) -> Checkpoint:
    name = f"c{hours_ago}".replace(".", "_")
    return Checkpoint(name, NOW - timedelta(hours=hours_ago), name, named=named)


def kept(policy: Retention, *checkpoints: Checkpoint) -> list[float]:
    gone = policy.surplus(checkpoints, NOW)
    return sorted((NOW - c.made).total_seconds() / 3600 for c in checkpoints if c not in gone)


def test_keep_last_keeps_the_newest():
    assert kept(Retention(3, 0, 0), *(made(h) for h in range(6))) == [0, 1, 2]


def test_the_result_is_oldest_first():
    every = [made(h) for h in (3, 1, 0, 2)]
    assert Retention(1, 0, 0).surplus(every, NOW) == [every[0], every[3], every[1]]


def test_keep_daily_keeps_the_newest_of_each_day_that_has_any():
    # Days (UTC, noon now): today 0 and 6; yesterday 13 and 20; five days ago 121.
    every = [made(h) for h in (0, 6, 13, 20, 121)]
    assert kept(Retention(1, 2, 0), *every) == [0, 13]
    assert kept(Retention(1, 3, 0), *every) == [0, 13, 121]


def test_keep_days_keeps_everything_of_that_time():
    every = [made(h) for h in (1, 23.5, 24, 24.5)]
    assert kept(Retention(1, 0, 1), *every) == [1, 23.5, 24]


def test_rules_add_up():
    every = [made(h) for h in (0, 1, 2, 30, 31, 60)]
    assert kept(Retention(2, 3, 0), *every) == [0, 1, 30, 60]


def test_the_newest_stays_whatever_the_policy():
    assert kept(Retention(0, 0, 0), made(1000), made(2000)) == [1000]


def test_named_ones_stay_and_take_nobodys_place():
    every = [made(0, named=True), made(1), made(2), made(3, named=True), made(4)]
    assert kept(Retention(2, 0, 0), *every) == [0, 1, 2, 3]


def test_times_in_the_future_are_no_trouble():
    assert kept(Retention(1, 0, 1), made(-48), made(-24), made(30)) == [-48, -24]


@pytest.mark.parametrize("zone", [-11, 0, 9])
def test_a_day_is_a_day_in_utc(zone):
    late = datetime(2026, 3, 30, 23, 30, tzinfo=timezone.utc).astimezone(timezone(timedelta(hours=zone)))
    early = datetime(2026, 3, 31, 0, 30, tzinfo=timezone.utc).astimezone(timezone(timedelta(hours=zone)))
    every = [Checkpoint("late", late, "late"), Checkpoint("early", early, "early")]
    assert Retention(1, 2, 0).surplus(every, NOW) == []


@given(
    st.lists(st.tuples(st.integers(0, 60 * 24 * 60), st.booleans()), max_size=60),
    st.integers(0, 8),
    st.integers(0, 8),
    st.integers(0, 8),
)
def test_what_holds_for_every_policy(times, last, daily, days):
    every = [Checkpoint(f"c{i}", NOW - timedelta(minutes=m), f"c{i}", named=named) for i, (m, named) in enumerate(times)]
    policy = Retention(last, daily, days)
    gone = policy.surplus(every, NOW)
    assert gone == sorted(gone, key=order)
    assert not any(c.named for c in gone)
    left = [c for c in every if c not in gone]
    unnamed = [c for c in every if not c.named]
    assert len([c for c in left if not c.named]) >= min(len(unnamed), max(last, 1))
    if unnamed:
        assert max(unnamed, key=order) in left
    # Pruning again takes nothing more: what stays, stays.
    assert policy.surplus(left, NOW) == []
