"""The real command in a process of its own on ``file://``, and in this one on ``memory://``."""

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloudcontents.backends.memory import MemoryBackend, drop_memory_store
from cloudcontents.bucket import Bucket
from cloudcontents.cli import main

COMMAND = [sys.executable, "-c", "import sys; from cloudcontents.cli import main; sys.exit(main())"]


@pytest.fixture(autouse=True)
def _no_configured_bucket(monkeypatch, tmp_path):
    monkeypatch.delenv("CLOUDCONTENTS_URL", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def command():
    """Run the command in a process of its own: ``command("ls", url)``; stdout and stderr are bytes."""

    def run(*args, check=False, **kwargs):
        done = subprocess.run([*COMMAND, *map(str, args)], capture_output=True, timeout=60, **kwargs)
        assert b"Traceback" not in done.stderr or "--debug" in args, done.stderr.decode()
        if check:
            assert done.returncode == 0, done.stderr.decode()
        return done

    return run


@pytest.fixture
def start():
    """Start the command and leave it running; it is ended with the test."""
    running = []

    def run(*args, **kwargs):
        process = subprocess.Popen([*COMMAND, *map(str, args)], **kwargs)
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@dataclass
class FileBucket:
    """A bucket on the disk."""

    path: Path

    def __post_init__(self):
        # As a server leaves it.
        (self.path / ".cloudcontents").mkdir(parents=True)

    def url(self, path=""):
        return f"{self.path.as_uri()}/{path}" if path else self.path.as_uri()

    def put(self, path, data=b"content"):
        at = self.path / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(data)
        return at

    def names(self):
        return names(self.path)


def names(top):
    """Everything below a directory that is not the bucket's own; directories end in a slash."""
    found = []
    for directory, below, files in os.walk(top):
        below[:] = [name for name in below if name != ".cloudcontents"]
        at = os.path.relpath(directory, top)
        found += [os.path.normpath(f"{at}/{name}") + "/" for name in below] + [os.path.normpath(f"{at}/{name}") for name in files]
    return sorted(found)


@pytest.fixture(name="names")
def names_fixture():
    return names


@pytest.fixture
def bucket(tmp_path):
    return FileBucket(tmp_path / "bucket")


class MemoryBucket:
    """A bucket in this process, and the command run on it."""

    def __init__(self, name, capfdbinary):
        self.name = name
        self.bucket = Bucket(MemoryBackend(name))
        self._capture = capfdbinary

    def url(self, path=""):
        return f"memory://{self.name}/{path}" if path else f"memory://{self.name}"

    def put(self, key, data=b"content"):
        return asyncio.run(self.bucket.put(key, data))

    def read(self, key):
        return asyncio.run(self.bucket.read(key))[1]

    def listed(self):
        async def collect():
            return [info.key async for info in self.bucket.objects("")]

        return asyncio.run(collect())

    def run(self, *args):
        """Exit status, stdout and stderr."""
        self._capture.readouterr()
        code = main([str(arg) for arg in args])
        sys.stdout.flush()
        captured = self._capture.readouterr()
        return code, captured.out, captured.err


@pytest.fixture
def memory(tmp_path, capfdbinary):
    name = f"cli-{tmp_path.name}"
    drop_memory_store(name)
    yield MemoryBucket(name, capfdbinary)
    drop_memory_store(name)
