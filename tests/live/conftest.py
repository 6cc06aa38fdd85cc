"""Which accounts the live suite runs on, and a place of its own on each, removed afterwards."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote, urlencode

import pytest

from cloudcontents.bucket import Bucket
from cloudcontents.config import StoreUrl, parse_url
from cloudcontents.moves import delete_prefix
from cloudcontents.registry import open_backend

SUITES = "live/suites.py"

#: What each variable is the URL of.
VARIABLES = {
    "CLOUDCONTENTS_LIVE_S3_URL": "a bucket of Amazon S3, or of another store of its protocol",
    "CLOUDCONTENTS_LIVE_GCS_URL": "a bucket of Google Cloud Storage",
    "CLOUDCONTENTS_LIVE_GCS_FOLDERS_URL": "one with a hierarchical namespace: native renames",
    "CLOUDCONTENTS_LIVE_AZURE_URL": "a container of Azure Blob Storage",
    "CLOUDCONTENTS_LIVE_AZURE_LAKE_URL": "one in an account with a hierarchical namespace: native renames",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the stores that no variable names; without any there is nothing to run."""
    live = [item for item in items if getattr(getattr(item, "cls", None), "variable", None) in VARIABLES]
    if not live:
        return
    if not any(os.environ.get(name) for name in VARIABLES):
        known = "\n".join(f"  {name:<36}{what}" for name, what in VARIABLES.items())
        pytest.exit(
            f"The live suite runs on real accounts. Set one of these at least (docs/live.md):\n{known}",
            returncode=pytest.ExitCode.USAGE_ERROR,
        )
    idle = [item for item in live if not os.environ.get(item.cls.variable)]
    config.hook.pytest_deselected(items=idle)
    items[:] = [item for item in items if item not in idle]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which stores were run and which were not."""
    if not any(SUITES in argument for argument in config.args):
        return
    terminalreporter.section("live accounts")
    for name in VARIABLES:
        url = os.environ.get(name)
        terminalreporter.write_line(f"{name}: {f'run on {parse_url(url)}' if url else 'not set, not run'}")


@pytest.fixture(scope="class")
def place(request: pytest.FixtureRequest) -> Iterator[StoreUrl]:
    """A fresh prefix on the account; all below it is deleted at the end of the class."""
    url = parse_url(os.environ[request.cls.variable])
    name = f"cloudcontents-live-{secrets.token_hex(8)}"
    yield replace(url, path=f"/{'/'.join(filter(None, (url.prefix, name)))}")
    asyncio.run(_remove(url, name))


@pytest.fixture
def fresh(place: StoreUrl) -> str:
    """The URL of an empty place for one test."""
    url = replace(place, path=f"{place.path}/{secrets.token_hex(4)}")
    query = f"?{urlencode(url.options)}" if url.options else ""
    return f"{url.scheme}://{quote(url.bucket)}{quote(url.path)}{query}"


async def _remove(url: StoreUrl, name: str) -> None:
    bucket = Bucket(open_backend(url))
    try:
        await delete_prefix(bucket, f"{name}/")
        assert await bucket.is_empty(f"{name}/"), f"something is left below {name}/ of {url}"
    finally:
        await bucket.close()
