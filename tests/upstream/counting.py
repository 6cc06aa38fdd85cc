"""The pytest plugin that holds an upstream suite to its table.

It skips what does not apply, each with its reason; expects to fail what must; and fails a run in which fewer tests passed than should.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

#: How often a test that upstream wrote against the clock may be tried.
ATTEMPTS = 3

#: Set in the environment of a process that tries one such test again.
ALONE = "CLOUDCONTENTS_UPSTREAM_ALONE"


class Counting:
    """Holds a suite to its table.

    Args:
        not_applicable: Reasons by ``module.py::test`` (all parameters of it) or ``module.py::test[parameter]``.
        expected: How many tests must pass, by module.
        must_fail: Reasons by the same names, for tests that would be wrong to pass.
        against_the_clock: Reasons by the same names, for tests that allow another process too little time on a busy machine.
    """

    def __init__(
        self,
        not_applicable: Mapping[str, str],
        expected: Mapping[str, int],
        must_fail: Mapping[str, str] | None = None,
        against_the_clock: Mapping[str, str] | None = None,
    ) -> None:
        self.not_applicable = not_applicable
        self.expected = expected
        self.must_fail = must_fail or {}
        self.against_the_clock = against_the_clock or {}
        self.unmatched = {*self.not_applicable, *self.must_fail, *self.against_the_clock}
        self.repeated: list[str] = []
        self.passed: Counter[str] = Counter()
        self.problems: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            for entry in names(item):
                self.unmatched.discard(entry)
                if entry in self.not_applicable:
                    item.add_marker(pytest.mark.skip(reason=f"not applicable: {self.not_applicable[entry]}"))
                if entry in self.must_fail:
                    item.add_marker(pytest.mark.xfail(strict=True, reason=self.must_fail[entry]))

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if not self.against_the_clock.keys() & set(names(item)):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        failed = [report for report in reports if report.failed]
        if failed and ALONE not in os.environ:
            self.repeated.append(f"{item.name}: {failed[0].longreprtext.splitlines()[-1]}")
            if any(passes_alone(item) for _ in range(ATTEMPTS - 1)):
                for report in failed:
                    report.outcome, report.longrepr = "passed", None
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.passed[report.nodeid.partition("::")[0].rpartition("/")[2]] += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        option = session.config.option
        arguments = session.config.invocation_params.args
        selected = (
            option.keyword or option.markexpr or option.collectonly or any(str(a).endswith(".py") or "::" in str(a) for a in arguments)
        )
        if selected or session.shouldstop or session.shouldfail:
            return
        self.problems = [f"in the table, but there is no such test: {entry}" for entry in sorted(self.unmatched)]
        for module, expected in self.expected.items():
            if self.passed[module] < expected:
                self.problems.append(f"{module}: {self.passed[module]} passed, {expected} should")
        if self.problems and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.repeated:
            terminalreporter.section("tried again: they count on the clock", yellow=True)
            for line in self.repeated:
                terminalreporter.write_line(line)
        if self.problems:
            terminalreporter.section("the suite does not match its table", red=True)
            for problem in self.problems:
                terminalreporter.write_line(problem, red=True)


def passes_alone(item: pytest.Item) -> bool:
    """Whether a test passes in a process of its own: what its failure left of sockets in this one would fail it again."""
    options = [str(argument) for argument in item.config.invocation_params.args]
    if options[-1] == str(item.path.parent):  # a whole run names the suite last
        options.pop()
    command = [sys.executable, "-m", "pytest", *options, f"{item.path}::{item.name}"]
    with tempfile.TemporaryDirectory() as scratch:
        return subprocess.run(command, cwd=scratch, env={**os.environ, ALONE: "1"}, check=False).returncode == 0


def names(item: pytest.Item) -> tuple[str, str]:
    """How the table may name a test: with its parameters, or all of them at once."""
    name = f"{item.path.name}::{item.name}"
    return name, name.partition("[")[0]
