"""The suite on a SQLite file."""

import pytest
from cloudcontents_sqlite import SqliteBackend

from cloudcontents.errors import ConfigurationError
from cloudcontents.registry import open_backend, schemes
from cloudcontents.testing import BackendConformance


class TestSqlite(BackendConformance):
    @pytest.fixture
    def backend(self, tmp_path):
        return open_backend(f"sqlite://{tmp_path}/bucket.db?create=true")

    @pytest.fixture
    def second_backend(self, tmp_path):
        return SqliteBackend(f"{tmp_path}/bucket.db", create=True)

    @pytest.fixture
    def missing_bucket_backend(self, tmp_path):
        return open_backend(f"sqlite://{tmp_path}/missing.db")


def test_it_is_found_by_its_entry_point():
    assert schemes()["sqlite"].value == "cloudcontents_sqlite:open_sqlite"


@pytest.mark.parametrize("url", ["sqlite://host/x.db", "sqlite://", "sqlite:///x.db?craete=true"])
def test_wrong_urls(url):
    with pytest.raises(ConfigurationError):
        open_backend(url)
