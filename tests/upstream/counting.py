"""The pytest plugin that skips what does not apply, each with its reason, and fails a run in which fewer tests passed than should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest


class Counting:
    """Holds a suite to its table.

    Args:
        not_applicable: Reasons by ``module.py::test`` (all parameters of it) or ``module.py::test[parameter]``.
        expected: How many tests must pass, by module.
    """

    def __init__(self, not_applicable: Mapping[str, str], expected: Mapping[str, int]) -> None:
        self.not_applicable = not_applicable
        self.expected = expected
        self.unmatched = set(not_applicable)
        self.passed: Counter[str] = Counter()
        self.problems: list[str] = []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            name = f"{item.path.name}::{item.name}"
            for entry in (name, name.partition("[")[0]):
                if entry in self.not_applicable:
                    self.unmatched.discard(entry)
                    item.add_marker(pytest.mark.skip(reason=f"not applicable: {self.not_applicable[entry]}"))

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
        self.problems = [f"listed as not applicable, but there is no such test: {entry}" for entry in sorted(self.unmatched)]
        for module, expected in self.expected.items():
            if self.passed[module] < expected:
                self.problems.append(f"{module}: {self.passed[module]} passed, {expected} should")
        if self.problems and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.problems:
            terminalreporter.section("the suite does not match its table", red=True)
            for problem in self.problems:
                terminalreporter.write_line(problem, red=True)
