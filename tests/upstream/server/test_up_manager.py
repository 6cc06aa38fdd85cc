"""jupyter_server's tests of a contents manager by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nbformat.sign import NotebookNotary
from store_fixtures import STORE, PathedManager, make_manager, tree_of
from tests.services.contents import test_manager as upstream
from tests.services.contents.test_manager import *  # noqa: F403


def make_big_directory(contents_manager: PathedManager, api_path: str) -> None:
    """A directory that is over the limit of what may be copied, in few objects."""
    for number in range(contents_manager.max_copy_folder_size_mb + 1):
        (tree_of(contents_manager) / api_path / f"file{number}.txt").write_bytes(bytes(1 << 20))


if STORE != "file":  # there, upstream's own go to the directory that is the bucket
    upstream._make_dir = lambda manager, path: (tree_of(manager) / path).mkdir(parents=True, exist_ok=True)
    upstream._make_big_dir = make_big_directory


@pytest.fixture
def jp_contents_manager(root_directory: Path, monkeypatch: pytest.MonkeyPatch) -> PathedManager:
    # test_delete_non_empty_folder compares the devices of the root directory and of the home directory.
    monkeypatch.setenv("HOME", str(root_directory.parent))
    return make_manager(root_directory)


@pytest.fixture
def jp_file_contents_manager_class() -> Any:
    return lambda root_dir, **traits: make_manager(Path(root_dir), **traits)


@pytest.fixture
def file_manager_with_notary(root_directory: Path) -> PathedManager:
    manager = make_manager(root_directory)
    notary = root_directory.parent / "notary"
    notary.mkdir()
    manager.notary = NotebookNotary(data_dir=str(notary))
    return manager
