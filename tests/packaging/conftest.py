"""The built distributions, and an environment into which nothing but the wheel was installed."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command to its end and return what it printed; its failure shows all that it said."""
    # Nothing of the environment that runs the tests may reach the one that is tested.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "JUPYTER", "CLOUDCONTENTS"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass
class Environment:
    """A virtual environment."""

    directory: Path

    def python(self, code: str) -> str:
        """Run code in it, away from the source tree."""
        return run(self.directory / "bin" / "python", "-c", code, cwd=self.directory)

    def command(self, name: str, *arguments: str) -> str:
        """Run an installed command of it."""
        path = self.directory / "bin" / name
        return run(path, *arguments, cwd=self.directory)


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel built from that sdist."""
    target = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", str(target), str(PROJECT), cwd=target)
    return target


@pytest.fixture(scope="session")
def wheel(distributions: Path) -> Path:
    (found,) = distributions.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def sdist(distributions: Path) -> Path:
    (found,) = distributions.glob("*.tar.gz")
    return found


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel, its requirements, and no extra."""
    directory = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(directory, with_pip=True)
    run(directory / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel), cwd=directory)
    return Environment(directory)
