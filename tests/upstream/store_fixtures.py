"""Which bucket upstream's tests run on, and the fixtures that choose our manager for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asking
import pytest
from bucket_path import BucketPath

from cloudcontents import CloudContentsManager

#: `memory`, `file` or the name of a server of the rig; run.py says it.
STORE = os.environ["CLOUDCONTENTS_UPSTREAM_STORE"]
#: Where each test has a prefix of its own; none for `file`, whose buckets are the tests' own directories.
BUCKET = os.environ.get("CLOUDCONTENTS_UPSTREAM_BUCKET", "")


class PathedManager(CloudContentsManager):
    """The manager under test, with the one private method that upstream's tests ask for: where a file lies."""

    def _get_os_path(self, path: str) -> str:
        return os.path.join(self.root_dir, path.strip("/")) if STORE == "file" else path


def prefix_of(directory: Path) -> str:
    """The prefix that is named for a directory, and for the process that made it."""
    return "-".join(directory.parts[-3:])


def store_url(directory: Path) -> str:
    """The bucket of one test: the directory itself, or the prefix that is named for it."""
    return f"{BUCKET}/{prefix_of(directory)}" if BUCKET else directory.as_uri()


def store_path(directory: Path) -> Any:
    """What stands for the bucket's root in a test that writes files: a path, or its look-alike."""
    return BucketPath(BUCKET, prefix_of(directory), directory) if BUCKET else directory


def make_manager(directory: Path, **traits: Any) -> PathedManager:
    """A manager on the bucket of a directory, as upstream makes one on the directory itself: no server, no running loop."""
    return PathedManager(url=store_url(directory), root_dir=str(directory), **traits)


def tree_of(manager: PathedManager) -> Any:
    """The root of a manager's bucket, to write to behind its back."""
    return store_path(Path(manager.root_dir))


@pytest.fixture(scope="session")
def asked_buckets() -> Iterator[None]:
    """Closes, at the end, what tests asked behind the manager's back."""
    yield
    asking.close()


@pytest.fixture
def root_directory(tmp_path_factory: pytest.TempPathFactory, asked_buckets: None) -> Path:
    """The directory that is, or names, the bucket."""
    directory = tmp_path_factory.mktemp("server") / "root_dir"
    directory.mkdir()
    return directory


@pytest.fixture
def jp_root_dir(root_directory: Path) -> Any:
    return store_path(root_directory)


@pytest.fixture
def contents_dir(jp_serverapp: Any, jp_root_dir: Any) -> Any:
    return jp_root_dir


@pytest.fixture
def jp_argv(root_directory: Path) -> list[str]:
    # Not jp_server_config: several tests parametrise that one.
    return [
        "--ServerApp.contents_manager_class=cloudcontents.CloudContentsManager",
        f"--CloudContentsManager.url={store_url(root_directory)}",
    ]
