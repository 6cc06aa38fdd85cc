"""The local backend: the suite on a directory."""

import pytest

from cloudcontents.registry import open_backend
from cloudcontents.testing import BackendConformance


class TestLocal(BackendConformance):
    @pytest.fixture
    def backend(self, tmp_path):
        return open_backend(f"file://{tmp_path}/bucket?create=true")

    @pytest.fixture
    def second_backend(self, tmp_path):
        return open_backend(f"file://{tmp_path}/bucket?create=true")

    @pytest.fixture
    def missing_bucket_backend(self, tmp_path):
        return open_backend(f"file://{tmp_path}/missing")
