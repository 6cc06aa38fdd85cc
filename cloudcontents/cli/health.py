"""``doctor``, ``policy`` and ``backends``: is the bucket in order, what may a server do there, which kinds of bucket are installed."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..doctor import Report, examine
from ..policy import least_policy
from ..registry import schemes
from .console import out, table


def add(commands: Any) -> None:
    """Add the commands to the command line."""
    parser = commands.add_parser(
        "doctor",
        help="ask a bucket everything a server will ask of it",
        description="Ask a bucket everything that a server will ask of it. Nothing of it stays in the bucket. Exit status: 0 no problem, "
        "1 a problem was found, 2 wrong usage.",
    )
    parser.add_argument("url", metavar="URL")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_doctor)

    parser = commands.add_parser("policy", help="print the least permissions that a bucket needs, to paste into its cloud")
    parser.add_argument("url", metavar="URL")
    parser.set_defaults(run=_policy)

    parser = commands.add_parser("backends", help="list the kinds of bucket that are installed")
    parser.set_defaults(run=_backends)


async def _doctor(args: argparse.Namespace) -> int:
    report = await examine(args.url)
    if args.json:
        out(json.dumps(report.as_json(), indent=2))
    else:
        _print(report)
    return 0 if report.healthy else 1


def _policy(args: argparse.Namespace) -> int:
    out(least_policy(args.url))
    return 0


def _print(report: Report) -> None:
    out(report.url)
    out()
    for finding in report.findings:
        out(f"{finding.status:<9}{finding.check:<20}{finding.said}")
        if finding.advice is not None and finding.status != "ok":
            out(f"{'':<29}→ {finding.advice}")
    problems = sum(finding.status == "problem" for finding in report.findings)
    out()
    out("All is well." if not problems else f"{problems} problem{'s' if problems > 1 else ''} found.")


def _backends(args: argparse.Namespace) -> int:
    rows = [["SCHEME", "PACKAGE", "STATE"]]
    for scheme, entry in sorted(schemes().items()):
        owner = f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "?"
        try:
            entry.load()
            state = "ready"
        except Exception as error:  # whatever a package does when it is imported
            state = f"cannot be imported: {error}"
        rows.append([f"{scheme}://", owner, state])
    table(rows)
    return 0
