"""The crash tests' own store must behave, or what they show is worth nothing."""

from __future__ import annotations

import pytest

from cloudcontents.testing import BackendConformance


class TestFlatStore(BackendConformance):
    @pytest.fixture
    def backend(self, flat_store, tmp_path):
        return flat_store.FlatBackend(str(tmp_path / "store.db"))

    @pytest.fixture
    def second_backend(self, flat_store, backend, tmp_path):
        return flat_store.FlatBackend(str(tmp_path / "store.db"))
