"""Which checkpoints of a file may go: a pure function of their times, the policy and the hour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

from .names import Checkpoint


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept. Each rule is a reason to keep; what no rule keeps may go.

    The newest checkpoint and those that somebody named are always kept.

    Attributes:
        keep_last: The newest so many.
        keep_daily: The newest one of each day (UTC), for the newest so many days that have any.
        keep_days: Everything made within so many days (of 24 hours).
    """

    keep_last: int = 20
    keep_daily: int = 7
    keep_days: int = 0

    def surplus(self, checkpoints: Sequence[Checkpoint], now: datetime) -> list[Checkpoint]:
        """Return the checkpoints that no rule keeps, oldest first.

        Named ones are passed over: they are never in the result, and take nobody's place.

        Args:
            checkpoints: All of one file's, in any order.
            now: Time-zone aware; what lies after it (a clock was wrong) counts as made just now.
        """
        newest_first = sorted((c for c in checkpoints if not c.named), key=order, reverse=True)
        since = now - timedelta(days=self.keep_days)
        days: set[date] = set()
        gone: list[Checkpoint] = []
        for place, checkpoint in enumerate(newest_first):
            day = checkpoint.made.astimezone(timezone.utc).date()
            newest_of_day = day not in days
            days.add(day)
            if (
                place < max(self.keep_last, 1)
                or (newest_of_day and len(days) <= self.keep_daily)
                or (self.keep_days > 0 and checkpoint.made >= since)
            ):
                continue
            gone.append(checkpoint)
        return gone[::-1]


def order(checkpoint: Checkpoint) -> tuple[datetime, str]:
    """Sort key: by time, then by id, so that the order is the same on every server."""
    return checkpoint.made, checkpoint.id
