"""Two Jupyter servers on one bucket, and processes that race on one."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from rig.jupyter import JupyterServer

WORKER = Path(__file__).with_name("race_worker.py")


@pytest.fixture(scope="module")
def two_servers(bucket_url, tmp_path_factory):
    """Two servers, each a process of its own, on the module's bucket."""
    servers = [JupyterServer(tmp_path_factory.mktemp("server"), {"url": bucket_url}) for _ in range(2)]
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.stop()


class Racer:
    """Another process on a bucket, ready to act the moment it is told."""

    def __init__(self, url):
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(WORKER), url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.answer()

    def tell(self, command, *arguments):
        """Let it begin; see `race_worker`."""
        self._process.stdin.write(f"{json.dumps([command, *arguments])}\n")
        self._process.stdin.flush()

    def answer(self):
        """Wait until it is done."""
        line = self._process.stdout.readline()
        assert line, "the other process has died; see its words above"
        return json.loads(line)

    def end(self):
        with self._process:
            self._process.stdin.close()
        assert self._process.returncode == 0


@pytest.fixture
def racers():
    """Starts processes on a bucket, all ready to race: `racers(url, count)`."""
    with ExitStack() as running:

        def start(url, count):
            started = []
            for _ in range(count):
                racer = Racer(url)
                running.callback(racer.end)
                started.append(racer)
            return started

        yield start
