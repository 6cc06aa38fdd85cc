"""The conformance and the manager suites on real accounts: `make test-live`; docs/live.md tells how.

No `test_` in this file's name: it is run when it is asked for, and not with the others.
"""

from __future__ import annotations

import pytest

from cloudcontents import CloudContentsManager
from cloudcontents.backends.interface import Rename
from cloudcontents.errors import InvalidPathError
from cloudcontents.registry import open_backend
from cloudcontents.testing import BackendConformance, ManagerConformance


class OnAccount(BackendConformance):
    """The suite below a prefix of its own; a subclass names the variable with the URL."""

    variable = ""

    @pytest.fixture
    def backend(self, fresh):
        return open_backend(fresh)

    @pytest.fixture
    def second_backend(self, fresh):
        return open_backend(fresh)


class ManagerOnAccount(ManagerConformance):
    """The same for the manager."""

    variable = ""

    @pytest.fixture
    def manager(self, fresh):
        return CloudContentsManager(url=fresh)


class RenamesNatively:
    """For an account whose namespace is hierarchical."""

    async def test_the_store_itself_renames(self, backend):
        """Without this the renames of the suite would be left out where the store says that it cannot."""
        assert isinstance(backend, Rename)
        await backend.put("exp/a", b"x")
        await backend.put("exp/b/c", b"y")
        await backend.rename("exp/", "other/")
        await backend.rename("other/a", "d/e/f")
        await backend.rename("other/", "new/parent/of/it/")
        assert (await backend.head("new/parent/of/it/b/c")).size == 1
        assert (await backend.head("d/e/f")).size == 1


class NamesOfAzure:
    """Azure takes keys that no path can name, but none that a URL's own path would resolve."""

    async def test_keys_that_no_path_can_name(self, backend):
        for key in ("/lead", "a//b", "d//"):
            await backend.put(key, b"x")
        for key in ("x/../y", "x/./y", ".."):
            with pytest.raises(InvalidPathError):
                await backend.put(key, b"x")
        assert [info.key for info in (await backend.list("")).objects] == ["/lead", "a//b", "d//"]


class TestS3(OnAccount):
    variable = "CLOUDCONTENTS_LIVE_S3_URL"


class TestS3Manager(ManagerOnAccount):
    variable = "CLOUDCONTENTS_LIVE_S3_URL"


class TestGcs(OnAccount):
    variable = "CLOUDCONTENTS_LIVE_GCS_URL"


class TestGcsManager(ManagerOnAccount):
    variable = "CLOUDCONTENTS_LIVE_GCS_URL"


class TestGcsFolders(RenamesNatively, OnAccount):
    variable = "CLOUDCONTENTS_LIVE_GCS_FOLDERS_URL"


class TestGcsFoldersManager(ManagerOnAccount):
    variable = "CLOUDCONTENTS_LIVE_GCS_FOLDERS_URL"


class TestAzure(NamesOfAzure, OnAccount):
    variable = "CLOUDCONTENTS_LIVE_AZURE_URL"


class TestAzureManager(ManagerOnAccount):
    variable = "CLOUDCONTENTS_LIVE_AZURE_URL"


class TestAzureLake(NamesOfAzure, RenamesNatively, OnAccount):
    variable = "CLOUDCONTENTS_LIVE_AZURE_LAKE_URL"


class TestAzureLakeManager(ManagerOnAccount):
    variable = "CLOUDCONTENTS_LIVE_AZURE_LAKE_URL"
