"""The pytest plugin: runs the suite's coroutines, and writes what each backend can do with ``--cloudcontents-report FILE``.

Imports nothing of the package at its top level: a plugin is loaded before coverage starts, and for test runs that have nothing to do
with us.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

_MODULES = ("conformance", "behaviours_objects", "behaviours_listing", "behaviours_changes", "behaviours_names", "calls", "manager_suite")

#: One method of each optional protocol, which tells that a backend has it.
_OPTIONAL = ("delete_many", "rename", "local_path", "put_part", "sign_get")

for _module in _MODULES:
    pytest.register_assert_rewrite(f"cloudcontents.testing.{_module}")

_report: pytest.StashKey[dict[str, Any]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--cloudcontents-report``."""
    parser.getgroup("cloudcontents").addoption(
        "--cloudcontents-report", metavar="FILE", default=None, help="write each backend's capabilities and behaviours as JSON"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start an empty report."""
    config.stash[_report] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine of the suite on an event loop of its own, so that the author needs no plugin for it."""
    if not _is_ours(pyfuncitem) or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in wanted}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the outcome of each behaviour."""
    outcome = yield
    if isinstance(item, pytest.Function) and _is_ours(item) and (outcome.when == "call" or outcome.outcome != "passed"):
        _note(item, outcome)
    return outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report."""
    path = session.config.getoption("--cloudcontents-report")
    if path:
        text = json.dumps(session.config.stash[_report], indent=2, sort_keys=True)
        Path(path).write_text(f"{text}\n", encoding="utf-8")


def _is_ours(item: pytest.Function) -> bool:
    return bool(getattr(item.cls, "cloudcontents_suite", False))


def _note(item: pytest.Function, outcome: pytest.TestReport) -> None:
    backend = getattr(item, "funcargs", {}).get("backend")
    entry = item.config.stash[_report].setdefault(item.cls.__name__, {"behaviours": {}})
    if backend is not None and "capabilities" not in entry:
        entry["scheme"] = backend.url.split(":", 1)[0]
        entry["capabilities"] = dataclasses.asdict(backend.capabilities)
        entry["optional"] = [name for name in _OPTIONAL if hasattr(backend, name)]
    # What an emulator cannot is expected to fail, which pytest counts among the skipped.
    result = "xfailed" if outcome.skipped and hasattr(outcome, "wasxfail") else outcome.outcome
    entry["behaviours"][item.name.removeprefix("test_")] = result
