"""What the command writes: results on stdout; notes, failures and progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tqdm import tqdm

from ..redact import redact


def out(text: str = "") -> None:
    """Write one line of result.

    On a terminal, what would steer it is escaped; into a pipe, names go unchanged, as far as they are text.
    """
    if sys.stdout.isatty() and not text.isprintable():
        text = "\n".join(redact(line) for line in text.split("\n"))
    data = f"{text}\n".encode("utf-8", "surrogateescape")
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def note(text: str) -> None:
    """Write one line for the user's eyes, ``cloudcontents: …``, without secrets and control characters."""
    tqdm.write(f"cloudcontents: {redact(text)}", file=sys.stderr)


def table(rows: Sequence[Sequence[str]]) -> None:
    """Write rows as aligned columns; the last one is not padded."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)] if rows else []
    for row in rows:
        out("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]))


class Progress:
    """A bar of bytes on stderr; nothing where stderr is not a terminal, or `quiet`. Use as a context manager."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._bar = tqdm(
            total=0, unit="B", unit_scale=True, unit_divisor=1024, disable=quiet or not sys.stderr.isatty(), leave=False, file=sys.stderr
        )

    def expect(self, size: int) -> None:
        """Learn of more bytes to come."""
        if not self._bar.disable:
            self._bar.total = (self._bar.total or 0) + size
            self._bar.refresh()

    def advance(self, size: int) -> None:
        """Learn of bytes that came."""
        self._bar.update(size)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.close()
