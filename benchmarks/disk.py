"""CloudContentsManager on file:// beside jupyter_server's own AsyncLargeFileManager on an equal directory: `python -m benchmarks`.

The two take turns, round by round, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

from .disk_cases import Case, cases, seed
from .figures import Figures
from .pings import Pings
from .servers import ON_DISK, OURS, Server

MINE, THEIRS = "cloudcontents", "AsyncLargeFileManager"


def measure(case: Case, server: Server, pings: Pings, figures: Figures) -> None:
    """One round of one case on one server."""
    at_rest = server.memory()
    server.reset_peak()
    with pings:
        begun = time.perf_counter()
        until = begun + case.seconds
        for number in itertools.count():
            time.sleep(max(0.0, begun + number * case.every - time.perf_counter()) if case.every else 0.0)
            took, first = case.once(server)
            figures.seconds.append(took)
            if first is not None:
                figures.first_byte.append(first)
            if time.perf_counter() + case.every >= until:
                break
        time.sleep(max(0.0, until - time.perf_counter()) if case.every else 0.0)
    figures.pings += pings.seconds
    figures.memory.append(server.memory("VmHWM") - at_rest)


def table(results: dict[str, dict[str, dict[str, float | None]]]) -> str:
    """The results as a table in Markdown."""
    lines = [
        f"| | {MINE} | {THEIRS} | ratio | wait of others, p50 / p99 / max: {MINE} | {THEIRS} | peak memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, found in results.items():
        ours, theirs = found[MINE], found[THEIRS]
        ratio = (ours["milliseconds"] or 0) / (theirs["milliseconds"] or 1)
        cells = [name, _time(ours), _time(theirs), f"{ratio:.2f}", _pings(ours), _pings(theirs)]
        cells.append(f"+{ours['peak_mib']:.0f} / +{theirs['peak_mib']:.0f} MiB")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _time(summary: dict[str, float | None]) -> str:
    first = summary["first_byte_milliseconds"]
    return f"{summary['milliseconds']:,.1f} ms" + (f" (first byte {first:.1f} ms)" if first is not None else "")


def _pings(summary: dict[str, float | None]) -> str:
    return f"{summary['ping_p50']:.1f} / {summary['ping_p99']:.1f} / {summary['ping_max']:.1f} ms"


def run(rounds: int, only: str, gib: float, report: Path | None) -> None:
    """Seed, measure in turns, report."""
    chosen = [case for case in cases(gib) if only in case.name]
    figures: dict[str, dict[str, Figures]] = defaultdict(lambda: defaultdict(Figures))
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        mine, theirs = Server(MINE, Path(directory, MINE), OURS), Server(THEIRS, Path(directory, THEIRS), ON_DISK)
        mine.environment = {"CLOUDCONTENTS_URL": mine.directory.as_uri()}
        servers = [mine, theirs]
        pings: list[Pings] = []
        try:
            for server in servers:
                seed(server.directory, gib)
                server.start()
                pings.append(Pings(server.port, server.token))
            for case in chosen:
                for server in servers:
                    case.once(server)  # warm
                for turn in range(rounds):
                    order = list(zip(servers, pings, strict=True))
                    for server, pinging in order if turn % 2 == 0 else reversed(order):
                        measure(case, server, pinging, figures[case.name][server.name])
                print(f"{case.name}: done", file=sys.stderr)
        finally:
            for pinging in pings:
                pinging.close()
            for server in servers:
                server.stop()
    results = {name: {server: one.summary() for server, one in found.items()} for name, found in figures.items()}
    print(table(results))
    if report:
        raw = {name: {server: asdict(one) for server, one in found.items()} for name, found in figures.items()}
        report.write_text(json.dumps({"rounds": rounds, "summary": results, "raw": raw}, indent=1))
