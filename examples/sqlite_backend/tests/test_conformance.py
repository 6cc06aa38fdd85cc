"""The suite on a SQLite file."""

import threading

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


def test_many_servers_open_a_new_file_at_once(tmp_path):
    """Each waits for the others: a change of SQLite's journal mode would not, and one of them would be refused."""
    for turn in range(60):
        backends = [SqliteBackend(f"{tmp_path}/{turn}.db", create=True) for _ in range(4)]
        barrier, errors = threading.Barrier(4), []

        def start(backend, barrier=barrier, errors=errors):
            barrier.wait()
            try:
                backend._transaction(lambda db: db.execute("UPDATE versions SET last = last + 1"))
            except Exception as error:
                errors.append(error)
            backend._close()

        threads = [threading.Thread(target=start, args=(backend,)) for backend in backends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
