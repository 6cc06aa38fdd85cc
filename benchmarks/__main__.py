"""Compare CloudContentsManager on file:// with jupyter_server's own AsyncLargeFileManager: `python -m benchmarks`.

The two take turns, round by round, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .cases import Case, cases, seed
from .pings import Pings
from .servers import MANAGERS, Server

OURS, THEIRS = MANAGERS


@dataclass
class Figures:
    """What one case took on one server, in all rounds."""

    seconds: list[float] = field(default_factory=list)
    first_byte: list[float] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)
    #: MiB above what the server had at rest before the round.
    memory: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float | None]:
        """Medians; of the pings, which are pooled, percentiles."""
        return {
            "milliseconds": statistics.median(self.seconds) * 1000,
            "fastest": min(self.seconds) * 1000,
            "slowest": max(self.seconds) * 1000,
            "times": len(self.seconds),
            "first_byte_milliseconds": statistics.median(self.first_byte) * 1000 if self.first_byte else None,
            "ping_p50": percentile(self.pings, 0.50) * 1000,
            "ping_p99": percentile(self.pings, 0.99) * 1000,
            "ping_max": max(self.pings) * 1000,
            "pings": len(self.pings),
            "peak_mib": max(self.memory),
        }


def percentile(values: list[float], share: float) -> float:
    """The value that this share of all values does not exceed."""
    return sorted(values)[max(0, -(-int(share * 1000) * len(values) // 1000) - 1)]


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
        f"| | {OURS} | {THEIRS} | ratio | wait of others, p50 / p99 / max: {OURS} | {THEIRS} | peak memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, found in results.items():
        ours, theirs = found[OURS], found[THEIRS]
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


def main() -> None:
    """Seed, measure in turns, report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each server (default 5)")
    parser.add_argument("--gib", type=float, default=1.0, help="size of the download, a sparse file (default 1)")
    parser.add_argument("--only", metavar="TEXT", default="", help="cases whose name contains this")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures there as well")
    options = parser.parse_args()
    chosen = [case for case in cases(options.gib) if options.only in case.name]
    figures: dict[str, dict[str, Figures]] = defaultdict(lambda: defaultdict(Figures))
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        servers = [Server(name, Path(directory, name)) for name in MANAGERS]
        pings: list[Pings] = []
        try:
            for server in servers:
                seed(server.directory, options.gib)
                server.start()
                pings.append(Pings(server.port, server.token))
            for case in chosen:
                for server in servers:
                    case.once(server)  # warm
                for turn in range(options.rounds):
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
    if options.json:
        raw = {name: {server: asdict(one) for server, one in found.items()} for name, found in figures.items()}
        options.json.write_text(json.dumps({"rounds": options.rounds, "summary": results, "raw": raw}, indent=1))


if __name__ == "__main__":
    main()
