"""jupyter_server's tests of /files/."""

from __future__ import annotations

from typing import Any

import pytest
import store_fixtures
from tests import test_files as upstream
from tests.test_files import *  # noqa: F403

# Upstream's module has one of its own, which chooses among its handlers.
jp_argv = store_fixtures.jp_argv


@pytest.fixture(autouse=True)
def paths_in_the_bucket(jp_root_dir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if store_fixtures.STORE != "file":
        monkeypatch.setattr(upstream, "Path", lambda root, *parts: root.joinpath(*parts))
