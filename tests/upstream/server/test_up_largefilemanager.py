"""jupyter_server's tests of saves in chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from store_fixtures import PathedManager, make_manager, store_path
from tests.services.contents.test_largefilemanager import *  # noqa: F403


@pytest.fixture
def tmp_path(root_directory: Path) -> Any:
    return store_path(root_directory)


@pytest.fixture
def jp_large_contents_manager(root_directory: Path) -> PathedManager:
    return make_manager(root_directory)
