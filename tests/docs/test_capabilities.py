"""docs/capabilities.md says what the backends say of themselves."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

import pytest

from cloudcontents.backends.interface import Capabilities
from cloudcontents.backends.memory import drop_memory_store
from cloudcontents.registry import open_backend

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "docs" / "capabilities.md"
AGAIN = "it is made from a test run: make capabilities"

OTHER_S3 = "s3://bucket?endpoint_url=https://minio.example"


@pytest.fixture
def report(tmp_path, monkeypatch):
    """What a run would tell of capabilities and protocols, from backends that ask no store."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "STORAGE_EMULATOR_HOST", "AZURE_STORAGE_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)
    urls = {
        "TestMemory": "memory://capabilities",
        "TestLocal": tmp_path.as_uri(),
        "TestMotoAsAmazon": "s3://bucket",
        "TestMinio": OTHER_S3,
        "TestMoto": OTHER_S3,
        "TestGcs": "gs://bucket",
        "TestAzurite": "az://account/container",
    }
    found = {}
    for suite, url in urls.items():
        backend = open_backend(url)
        optional = [name for name in made()["PROTOCOLS"] if hasattr(backend, name)]
        found[suite] = {"capabilities": dataclasses.asdict(backend.capabilities), "optional": optional}
    yield found
    drop_memory_store("capabilities")


def made():
    return runpy.run_path(str(Path(__file__).with_name("capabilities.py")))


def test_the_page_is_what_the_backends_say(report):
    page = PAGE.read_text(encoding="utf-8")
    assert made()["capabilities"](report) in page, AGAIN
    assert made()["protocols"](report) in page, AGAIN


def test_no_behaviour_failed_in_the_run_that_the_page_is_made_from():
    (failed,) = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| failed |")]
    assert set(failed.split("|")[2:-1]) == {" 0 "}, AGAIN


def test_every_capability_has_a_meaning():
    for field in dataclasses.fields(Capabilities):
        assert made()["meaning"](field.name).endswith((".", ")")), field.name
