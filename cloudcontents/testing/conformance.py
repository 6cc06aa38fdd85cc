"""`BackendConformance`: what every backend must do, as a pytest class to subclass.

    class TestMine(BackendConformance):
        @pytest.fixture
        def backend(self, tmp_path):
            return MyBackend(tmp_path / "store")

The `backend` fixture gives a backend on an empty store, and the suite closes it. Which behaviours are asked for follows from
`Capabilities`: what they deny must raise `UnsupportedError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from cloudcontents.backends.interface import Backend

from .behaviours_changes import Changes
from .behaviours_listing import Listing
from .behaviours_names import Names
from .behaviours_objects import Objects
from .behaviours_parts import Parts


class BackendConformance(Objects, Listing, Changes, Names, Parts):
    """Subclass it with a `backend` fixture; `second_backend` and `missing_bucket_backend` make it ask more."""

    #: Tells the pytest plugin whose tests these are.
    cloudcontents_suite = True

    @pytest.fixture
    def backend(self) -> Backend:
        """A backend on an empty store. Override it."""
        raise NotImplementedError("give a `backend` fixture that returns a backend on an empty store")

    @pytest.fixture
    def second_backend(self, backend: Backend) -> Backend:
        """An independent connection to the store of `backend`. Override it where there can be one: races are found by it."""
        return backend

    @pytest.fixture
    def missing_bucket_backend(self) -> Backend | None:
        """A backend on a bucket that does not exist. Override it where there can be one."""
        return None

    @pytest.fixture(autouse=True)
    def _closed(self, request: pytest.FixtureRequest) -> Iterator[None]:
        opened = [
            request.getfixturevalue(name)
            for name in ("backend", "second_backend", "missing_bucket_backend")
            if name in request.fixturenames
        ]
        yield
        for backend in opened:
            if backend is not None:
                asyncio.run(backend.close())
