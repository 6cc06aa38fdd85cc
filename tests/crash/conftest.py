"""Fixtures: the flat store of these tests, and crashes played out by the worker program."""

from __future__ import annotations

import importlib.util
import json
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def flat_store():
    """The module of the flat store, as the worker imports it."""
    spec = importlib.util.spec_from_file_location("flat_store", HERE / "flat_store.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def play(tmp_path):
    """Plays operations, each once unharmed and then once for each crash; by operation: what stood before and after, and the cases."""

    def run(store, operations, *, again=False, only=None):
        seed = secrets.randbits(32)
        print(f"crashes chosen with seed {seed}")
        task = {"store": store, "operations": operations, "again": again, "only": only, "seed": seed}
        task |= {"directory": str(tmp_path), "result": str(tmp_path / "result.json")}
        program = [sys.executable, "-W", "ignore", str(HERE / "worker.py")]
        done = subprocess.run(program, input=json.dumps(task), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "result.json").read_text())

    return run
