"""jupyter-collaboration's own tests, with the fixtures that choose the manager put over its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("tests")

import store_fixtures  # noqa: E402
from counting import Counting  # noqa: E402

pytest_plugins = ["jupyter_server.pytest_plugin", "jupyter_server_fileid.pytest_plugin", "jupyter_server_ydoc.pytest_plugin"]

asked_buckets = store_fixtures.asked_buckets
root_directory = store_fixtures.root_directory
jp_root_dir = store_fixtures.jp_root_dir

#: Tests that must pass, on either store. The other modules of the suite use stand-ins for a manager.
EXPECTED = {"test_up_app.py": 16, "test_up_documents.py": 5, "test_up_handlers.py": 8}


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Counting({}, EXPECTED), "counting")


@pytest.fixture
def jp_server_config(jp_server_config: dict[str, Any], root_directory: Path) -> dict[str, Any]:
    # Not jp_argv: several tests give arguments of their own.
    jp_server_config["ServerApp"]["contents_manager_class"] = "cloudcontents.CloudContentsManager"
    jp_server_config["CloudContentsManager"] = {"url": store_fixtures.store_url(root_directory)}
    return jp_server_config
