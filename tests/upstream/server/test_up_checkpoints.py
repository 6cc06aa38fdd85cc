"""jupyter_server's tests of checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from store_fixtures import PathedManager, make_manager
from tests.services.contents.test_checkpoints import *  # noqa: F403


@pytest.fixture
def contents_manager(contents: Any, root_directory: Path) -> PathedManager:
    return make_manager(root_directory)
