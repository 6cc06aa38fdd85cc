"""The S3 backend: the suites on MinIO and on moto, and on moto as if it were Amazon's own."""

import pytest

from cloudcontents import CloudContentsManager
from cloudcontents.backends import s3_client
from cloudcontents.registry import open_backend
from cloudcontents.testing import BackendConformance, ManagerConformance

MINIO_NAMES = "MinIO refuses empty segments, and '.' and '..' even with blanks around them"
MOTO_SOURCE = "moto ignores CopySourceIfMatch"
MOTO_COMPLETION = "moto ignores IfMatch on CompleteMultipartUpload"
MOTO_CHECKSUM = "moto accepts a part whose checksum is wrong"
MOTO_DELETION = "moto ignores the ETags of DeleteObjects"
MOTO_COPY = "moto ignores IfMatch and IfNoneMatch on CopyObject"


class OnServer(BackendConformance):
    """The suite on a bucket of its own; a subclass says on which server, and where that one is known to lie."""

    server = ""
    as_amazon = False
    lies = {}

    @pytest.fixture
    def bucket(self, request, monkeypatch):
        server = request.getfixturevalue(self.server)
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        if self.as_amazon:
            monkeypatch.setattr(s3_client, "_is_amazon", lambda host: True)
        if request.node.name in self.lies:
            request.applymarker(pytest.mark.xfail(reason=self.lies[request.node.name], strict=True))
        return server.new_bucket()

    @pytest.fixture
    def backend(self, bucket):
        return open_backend(f"s3://{bucket}")

    @pytest.fixture
    def second_backend(self, bucket):
        return open_backend(f"s3://{bucket}")

    @pytest.fixture
    def missing_bucket_backend(self, bucket):
        return open_backend("s3://no-such-bucket")


class TestMinio(OnServer):
    server = "minio"
    lies = {
        "test_good_names_come_back_as_they_were_given[traversal-like]": MINIO_NAMES,
        "test_keys_that_no_path_can_name": MINIO_NAMES,
    }


class TestMoto(OnServer):
    server = "moto"
    lies = {
        "test_copy_of_one_version": MOTO_SOURCE,
        "test_completing_if_version": MOTO_COMPLETION,
        "test_a_wrong_checksum_keeps_nothing": MOTO_CHECKSUM,
    }


class TestMotoAsAmazon(OnServer):
    server = "moto"
    as_amazon = True
    lies = {
        **TestMoto.lies,
        "test_copy_if_version": MOTO_COPY,
        "test_copy_if_absent": MOTO_COPY,
        "test_copy_race_of_eight_has_one_winner": MOTO_COPY,
        "test_delete_many_tells_what_failed": MOTO_DELETION,
    }


class TestMinioManager(ManagerConformance):
    @pytest.fixture
    def manager(self, minio, monkeypatch):
        for name, value in minio.environment().items():
            monkeypatch.setenv(name, value)
        return CloudContentsManager(url=f"s3://{minio.new_bucket()}/team/home")
