"""The pytest plugin that holds an upstream suite to its table.

It skips what does not apply, each with its reason; expects to fail what must; and fails a run in which fewer tests passed than should.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

#: How often a test that upstream wrote against the clock may be tried.
ATTEMPTS = 3

#: How long a process with such tests may take: upstream gives each ten seconds, and as many again go by around it.
SECONDS_TO_START, SECONDS_EACH = 100, 30

#: Set in the environment of a process that tries such tests.
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
        self._together: bool | None = None
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
            if ALONE not in os.environ and self._counts_on_the_clock(item):
                # The other process has the limit; this one waits for it.
                item.add_marker(pytest.mark.timeout(0), append=False)

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if ALONE in os.environ or not self._counts_on_the_clock(item):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        started = time.time()
        said = self._tried_elsewhere(item)
        report = pytest.TestReport(
            item.nodeid,
            item.location,
            dict.fromkeys(item.keywords, 1),
            "failed" if said else "passed",
            said,
            "call",
            duration=time.time() - started,
            start=started,
            stop=time.time(),
        )
        item.ihook.pytest_runtest_logreport(report=report)
        item.session._setupstate.teardown_exact(nextitem)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _counts_on_the_clock(self, item: pytest.Item) -> bool:
        return bool(self.against_the_clock.keys() & set(names(item)))

    def _tried_elsewhere(self, item: pytest.Item) -> str | None:
        """None if a test passes in another process, else what that one said last.

        All such tests go there together; where that fails, each by itself: what a failure leaves of sockets would fail the next one, or
        let the process wait for them for ever.
        """
        if self._together is None:
            self._together = said_by_another(item, [other for other in item.session.items if self._counts_on_the_clock(other)]) is None
        if self._together:
            return None
        said: str | None = None
        for _ in range(ATTEMPTS):
            said = said_by_another(item, [item])
            if said is None:
                break
            self.repeated.append(f"{item.name}: {said.splitlines()[-1] if said else 'no output'}")
        return said

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


def said_by_another(item: pytest.Item, tests: Sequence[pytest.Item]) -> str | None:
    """Run tests in a process of their own; None if all passed, else what it said."""
    options = [str(argument) for argument in item.config.invocation_params.args]
    if options[-1] == str(item.path.parent):  # a whole run names the suite last
        options.pop()
    options = [option for option in options if option.startswith("-") or ".py" not in Path(option).name]
    command = [sys.executable, "-m", "pytest", *options, *(f"{test.path}::{test.name}" for test in tests)]
    limit = SECONDS_TO_START + SECONDS_EACH * len(tests)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            done = subprocess.run(
                command,
                cwd=scratch,
                env={**os.environ, ALONE: "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                timeout=limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"It did not end within {limit} seconds."
    return None if done.returncode == 0 else done.stdout or f"exit status {done.returncode}"


def names(item: pytest.Item) -> tuple[str, str]:
    """How the table may name a test: with its parameters, or all of them at once."""
    name = f"{item.path.name}::{item.name}"
    return name, name.partition("[")[0]
