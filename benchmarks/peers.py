"""CloudContentsManager on MinIO beside s3contents and jupyter-fs: `python -m benchmarks peers`.

All take turns, round by round, so that whatever else the machine does falls on all of them. What a server answered counts only where the
store, asked with boto3 afterwards, holds what was asked for.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .figures import Figures
from .peer_rows import Row, UnverifiedError, rows
from .peer_servers import MINE, MINE_FOR_GOOD, Side, sides
from .precedence import share
from .servers import RefusedError
from .wire import Rig

#: A server whose turn takes longer than this has no second one in that row.
PATIENCE = 10.0

#: Seconds for which a server rests after its work is undone, so that its memory is what it holds at rest.
REST = 0.3


def measure(row: Row, side: Side, turn: int, figures: Figures) -> None:
    """One turn of one row.

    Raises:
        RefusedError: The server said that it did not do it.
        UnverifiedError: It said that it did, and did not.
    """
    row.prepare(side, turn)
    time.sleep(REST)
    if side.wire is not None:
        side.wire.forget()
    at_rest = side.server.memory()
    side.server.reset_peak()
    assert side.pings is not None
    took: list[float] = []
    used = side.server.processor()
    try:
        with side.pings:
            for _ in range(row.repeats):
                begun = time.perf_counter()
                row.work(side)
                took.append(time.perf_counter() - begun)
    except (KeyError, TypeError) as error:
        raise UnverifiedError(f"an answer without {error}") from error
    used = side.server.processor() - used
    memory = side.server.memory("VmHWM") - at_rest
    requests = side.wire.count() / row.repeats if side.wire is not None else None
    row.verify(side)
    figures.seconds += took
    figures.memory.append(memory)
    figures.processor.append(used / row.repeats)
    figures.pings += side.pings.seconds
    if requests is not None:
        figures.requests.append(requests)


def compare(row: Row, taking_part: list[Side], rounds: int, figures: dict[str, Figures], failures: dict[str, str]) -> None:
    """All turns of one row."""
    out: set[str] = set()
    for turn in range(rounds):
        for side in taking_part if turn % 2 == 0 else reversed(taking_part):
            if side.name in out:
                continue
            begun = time.monotonic()
            try:
                measure(row, side, turn, figures[side.name])
            except RefusedError as error:
                failures[side.name] = f"refused: {error}"
            except UnverifiedError as error:
                failures[side.name] = f"answered with success, but: {error}"
            if side.name in failures:
                out.add(side.name)
                figures.pop(side.name, None)
            elif figures[side.name].seconds[-1] > PATIENCE:
                out.add(side.name)
            print(f"{row.name}: {side.name}, turn {turn}: {time.monotonic() - begun:.1f} s", file=sys.stderr)


def report(chosen: list[Row], results: dict[str, dict[str, dict[str, float | None]]], failures: dict[str, dict[str, str]]) -> str:
    """The results as a table in Markdown, and under it why some do not count."""
    names = [name for row in chosen for name in row.who if name not in (MINE, MINE_FOR_GOOD)]
    others = list(dict.fromkeys(names))
    lines = [f"| | cloudcontents | {' | '.join(others)} | ours / best |", f"| --- | ---: |{' ---: |' * len(others)} ---: |"]
    notes: list[str] = []
    for row in chosen:
        mine = next(name for name in row.who if name in (MINE, MINE_FOR_GOOD))
        cells = [_cell(results[row.name].get(mine), failures[row.name].get(mine), notes)]
        for name in others:
            cells.append("" if name not in row.who else _cell(results[row.name].get(name), failures[row.name].get(name), notes))
        against = [row.measured_against] if row.measured_against else others
        best = [found["milliseconds"] or 0 for name in against if (found := results[row.name].get(name)) is not None]
        ours = results[row.name].get(mine)
        cells.append(f"{(ours['milliseconds'] or 0) / min(best):.2f}" if best and ours else "alone")
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *notes])


def _cell(found: dict[str, float | None] | None, failure: str | None, notes: list[str]) -> str:
    if found is None:
        text = " ".join((failure or "did not take part").split())
        if text not in [note.partition(" ")[2] for note in notes]:
            notes.append(f"[{len(notes) + 1}] {text}")
        return f"no [{[note.partition(' ')[2] for note in notes].index(text) + 1}]"
    took = found["milliseconds"] or 0
    time_ = f"{took / 1000:.2f} s" if took >= 1000 else f"{took:.1f} ms"
    parts = [f"**{time_}**"]
    if found["requests"] is not None:
        parts.append(f"{found['requests']:,.4g} req")
    parts.append(f"+{found['peak_mib'] or 0:,.0f} MiB")
    parts.append(f"{found['ping_max'] or 0:,.0f} ms")
    return " · ".join(parts)


def _minio(rig: Rig) -> Any:
    minio = rig.server("minio")
    share(minio.pid)
    return minio


def run(rounds: int, only: str, gib: float, to: Path | None) -> None:
    """Start all, measure in turns, report."""
    chosen = [row for row in rows(gib) if only in row.name]
    wanted = list(dict.fromkeys(name for row in chosen for name in row.who))
    figures: dict[str, dict[str, Figures]] = {row.name: defaultdict(Figures) for row in chosen}
    failures: dict[str, dict[str, str]] = {row.name: {} for row in chosen}
    with (
        tempfile.TemporaryDirectory(prefix="benchmarks-") as directory,
        Rig(Path(directory, "logs")) as rig,
        sides(_minio(rig), Path(directory), wanted) as started,
    ):
        for row in chosen:
            compare(row, [side for side in started if side.name in row.who], rounds, figures[row.name], failures[row.name])
    results = {name: {server: one.summary() for server, one in found.items() if one.seconds} for name, found in figures.items()}
    print(report(chosen, results, failures))
    if to:
        raw = {name: {server: asdict(one) for server, one in found.items()} for name, found in figures.items()}
        to.write_text(json.dumps({"rounds": rounds, "summary": results, "failures": failures, "raw": raw}, indent=1))
