"""The live suite itself, on MinIO as if it were an account: what runs, what is told, and that nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
FEW = "test_delete_means_one_key or test_rename_an_object or test_a_rename_replaces_nothing"


@pytest.fixture
def live():
    """Run the suite in a process of its own, with these variables and no other of its own."""

    def run(*arguments, **variables):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CLOUDCONTENTS_LIVE_")}
        command = [sys.executable, "-m", "pytest", "tests/live/suites.py", "-q", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(command, cwd=PROJECT, env={**environment, **variables}, capture_output=True, text=True, timeout=240)
        return done.returncode, done.stdout + done.stderr

    return run


def test_without_any_account_it_fails_and_says_what_to_set(live):
    status, said = live()
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "CLOUDCONTENTS_LIVE_S3_URL" in said
    assert "CLOUDCONTENTS_LIVE_AZURE_LAKE_URL" in said
    assert "passed" not in said


def test_it_runs_where_it_may_says_where_it_did_not_and_leaves_nothing(live, minio):
    bucket = minio.new_bucket()
    client = minio.client()
    client.put_object(Bucket=bucket, Key="team/mine.txt", Body=b"mine")
    url = f"s3://{bucket}/team?region={minio.region}"
    status, said = live("-k", FEW, CLOUDCONTENTS_LIVE_S3_URL=url, **minio.environment())
    assert status == 0, said
    assert "2 passed" in said
    assert f"CLOUDCONTENTS_LIVE_S3_URL: run on s3://{bucket}/team" in said
    assert "CLOUDCONTENTS_LIVE_GCS_URL: not set, not run" in said
    assert [found["Key"] for found in client.list_objects_v2(Bucket=bucket)["Contents"]] == ["team/mine.txt"]
    client.close()


@pytest.mark.long
def test_an_account_that_should_rename_natively_is_held_to_it(live, azurite):
    url = f"az://{azurite.account}/{azurite.new_bucket()}"
    status, said = live("-k", "the_store_itself_renames", CLOUDCONTENTS_LIVE_AZURE_LAKE_URL=url, **azurite.environment())
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "flat" in said
