"""Makes docs/capabilities.md of what a test run has found; `make capabilities` runs the tests, and this on their report."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cloudcontents.backends.interface import Capabilities

#: The columns: a suite of the run, and what it is called.
COLUMNS = {
    "TestMemory": "memory",
    "TestLocal": "file",
    "TestMotoAsAmazon": "S3, as Amazon documents it (on moto)",
    "TestMinio": "S3, others (MinIO)",
    "TestMoto": "S3, others (moto)",
    "TestGcs": "GCS (fake-gcs-server)",
    "TestAzurite": "Azure (Azurite)",
}

#: The optional protocols, by the method that the report names.
PROTOCOLS = {
    "delete_many": "many deletions in one request",
    "rename": "renames in one step",
    "local_path": "files that a kernel can open",
    "put_part": "uploads in parts",
    "sign_get": "signed links",
}

HEAD = """# What each store can do

Made from a run of the conformance suite by `make capabilities`; a test holds it against the code. `cloudcontents doctor URL` asks a
bucket of yours, and `GET /cloudcontents/status` tells it to programs.

"""

RENAMES = """A Google bucket or an Azure account renames in one step where its namespace is hierarchical; no emulator has that, so
the suite leaves it out there, and the requests are held against the documentation. Else a rename copies and deletes, and finishes after
a crash.
"""

RUNS = """Behaviours of `cloudcontents.testing.BackendConformance`. *Known to fail* are those where an emulator does not do what the real
service documents; each has its reason in the tests. *Not asked* are those that do not apply, since a capability or a protocol is missing.
The suites run on a real account, too: [live accounts](live.md).
"""


def page(report: Mapping[str, Any]) -> str:
    """The whole page.

    Args:
        report: What ``--cloudcontents-report`` wrote.
    """
    counted = [[what, *(str(_count(report[suite], outcome)) for suite in COLUMNS)] for outcome, what in _OUTCOMES.items()]
    parts = [HEAD, capabilities(report), "\n## Optional protocols\n\n", protocols(report), "\n", RENAMES]
    parts += ["\n## The run\n\n", RUNS, "\n", _table(["", *COLUMNS.values()], counted), _failing(report)]
    return "".join(parts)


def capabilities(report: Mapping[str, Any]) -> str:
    """The table of `Capabilities`."""
    rows = [
        [f"`{field.name}`", meaning(field.name), *(_cell(report[suite]["capabilities"][field.name]) for suite in COLUMNS)]
        for field in dataclasses.fields(Capabilities)
    ]
    return _table(["capability", "", *COLUMNS.values()], rows)


def protocols(report: Mapping[str, Any]) -> str:
    """The table of the optional protocols."""
    rows = [[what, *(_protocol(report[suite], suite, name) for suite in COLUMNS)] for name, what in PROTOCOLS.items()]
    return _table(["", *COLUMNS.values()], rows)


def meaning(name: str) -> str:
    """What the docstring of `Capabilities` says of a field."""
    found = re.search(rf"^ +{name}: (.*?)(?=^ +\w+: |\Z)", Capabilities.__doc__ or "", re.MULTILINE | re.DOTALL)
    assert found, f"{name} is not in the docstring"
    return re.sub(r"\s+", " ", found[1]).strip().replace("``", "`").replace("|", "\\|")


_OUTCOMES = {"passed": "passed", "xfailed": "known to fail", "skipped": "not asked", "failed": "failed"}


def _count(suite: Mapping[str, Any], outcome: str) -> int:
    return list(suite["behaviours"].values()).count(outcome)


def _protocol(suite: Mapping[str, Any], name: str, protocol: str) -> str:
    if protocol not in suite["optional"]:
        return "no"
    return "hierarchical namespaces" if protocol == "rename" and name in ("TestGcs", "TestAzurite") else "yes"


def _failing(report: Mapping[str, Any]) -> str:
    lines = []
    for suite, column in COLUMNS.items():
        names = [name for name, outcome in sorted(report[suite]["behaviours"].items()) if outcome == "xfailed"]
        if names:
            lines.append(f"- {column}: {', '.join(f'`{name}`' for name in names)}\n")
    return f"\nKnown to fail:\n\n{''.join(lines)}" if lines else ""


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "no limit"
    if isinstance(value, int):
        return f"{value / 2**40:g} TiB" if value >= 2**40 else f"{value:,}"
    return f"`{value}`" if value else "none"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(page(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
