"""jupyter_server's own tests, with the fixtures that choose the manager put over its own."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests")

import store_fixtures  # noqa: E402
from applicable import AGAINST_THE_CLOCK, EXPECTED, MUST_FAIL, NOT_APPLICABLE  # noqa: E402
from counting import Counting  # noqa: E402
from tests import conftest as upstream  # noqa: E402
from tests.conftest import *  # noqa: E402, F403

# These stand for upstream's fixtures of the same names.
asked_buckets = store_fixtures.asked_buckets
root_directory = store_fixtures.root_directory
jp_root_dir = store_fixtures.jp_root_dir
jp_argv = store_fixtures.jp_argv
contents_dir = store_fixtures.contents_dir


def pytest_configure(config: pytest.Config) -> None:
    upstream.pytest_configure(config)
    config.addinivalue_line("markers", "flaky: upstream's own; here a test passes at once or fails")
    # What holds in memory holds on every store that is no directory.
    store = store_fixtures.STORE if store_fixtures.STORE in EXPECTED else "memory"
    counting = Counting(NOT_APPLICABLE[store], EXPECTED[store], MUST_FAIL, AGAINST_THE_CLOCK)
    config.pluginmanager.register(counting, "counting")
