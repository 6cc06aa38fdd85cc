"""The fixtures of the rig: `minio`, `fake_gcs`, `azurite`, `moto`, `toxiproxy` for the whole run, `bucket_on` for a module, `faultproxy`
for a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rig.faultproxy import FaultProxy
from rig.install import RigError
from rig.servers import Azurite, FakeGcs, Minio, Moto
from rig.together import SERVERS, Rig
from rig.toxiproxy import Toxiproxy
from rig.tusd import Tusd

_failed: dict[str, RigError] = {}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install what the chosen tests need before the first of them: that may take longer than a test may."""
    if session.config.option.collectonly:
        return
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    for name in wanted & SERVERS.keys():
        try:
            SERVERS[name](Path(), Path()).install()
        except RigError as error:
            # The tests that asked for it fail with this, not the ones that did not.
            _failed[name] = error


@pytest.fixture(scope="session")
def rig(pytestconfig: pytest.Config) -> Iterator[Rig]:
    """All of them by name. A server starts when it is first asked for."""
    with Rig(pytestconfig.rootpath / "test-results" / "rig") as started:
        yield started


def _server(rig: Rig, name: str) -> Any:
    if name in _failed:
        raise _failed[name]
    return rig.server(name)


@pytest.fixture(scope="session")
def minio(rig: Rig) -> Minio:
    """A MinIO for the whole run; take a `new_bucket()` for each test."""
    return _server(rig, "minio")


@pytest.fixture(scope="session")
def moto(rig: Rig) -> Moto:
    """moto's S3 server for the whole run; take a `new_bucket()` for each test."""
    return _server(rig, "moto")


@pytest.fixture(scope="session")
def fake_gcs(rig: Rig) -> FakeGcs:
    """A fake-gcs-server for the whole run; take a `new_bucket()` for each test."""
    return _server(rig, "fake_gcs")


@pytest.fixture(scope="session")
def azurite(rig: Rig) -> Azurite:
    """An Azurite for the whole run; take a `new_bucket()` for each test."""
    return _server(rig, "azurite")


@pytest.fixture(scope="session")
def toxiproxy(rig: Rig) -> Toxiproxy:
    """A Toxiproxy for the whole run: `with toxiproxy.proxy(minio) as proxy:`."""
    return _server(rig, "toxiproxy")


@pytest.fixture(scope="session")
def tusd(rig: Rig) -> Tusd:
    """The reference server of tus for the whole run: the suites of our own server are calibrated against it."""
    return _server(rig, "tusd")


@pytest.fixture(scope="module")
def bucket_on(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Makes an empty bucket on a server of the rig, or on "file", and returns its URL: `bucket_on("minio")`.

    The way there and the credentials are in the environment from then on, until the module's end.
    """
    with pytest.MonkeyPatch.context() as environment:

        def make(name: str) -> str:
            if name == "file":
                return tmp_path_factory.mktemp("bucket").as_uri()
            server = request.getfixturevalue(name)
            for variable, value in server.environment().items():
                environment.setenv(variable, value)
            return server.bucket_url(server.new_bucket())

        yield make


@pytest.fixture
def faultproxy() -> Iterator[Callable[..., FaultProxy]]:
    """Put a fault proxy before a server: `faultproxy(minio, seed=…)`. It ends with the test."""
    with ExitStack() as running:
        yield lambda upstream, *, seed=None: running.enter_context(FaultProxy(upstream, seed=seed))
