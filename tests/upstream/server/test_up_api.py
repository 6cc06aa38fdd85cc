"""jupyter_server's tests of the Contents API over HTTP."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import store_fixtures
from tests.services.contents import test_api as upstream
from tests.services.contents.test_api import *  # noqa: F403
from tests.services.contents.test_api import _check_created  # noqa: F401

# Upstream's module has one of its own.
jp_argv = store_fixtures.jp_argv


@pytest.fixture
def contents_dir(jp_serverapp: Any, jp_root_dir: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    if store_fixtures.STORE != "file":
        # The tests ask pathlib whether a file was made; in a bucket, the bucket answers.
        monkeypatch.setattr(upstream, "pathlib", SimpleNamespace(Path=jp_root_dir.at))
    return jp_root_dir
