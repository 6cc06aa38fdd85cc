"""The wheel and the sdist hold what they must, and nothing else."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent


def test_the_wheel_holds_every_module_and_the_typing_marker(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {str(path.relative_to(PROJECT)) for path in (PROJECT / "cloudcontents").rglob("*.py")}
    assert modules <= names
    assert "cloudcontents/py.typed" in names


def test_the_wheel_holds_nothing_but_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert tops == {"cloudcontents", *(top for top in tops if top.endswith((".dist-info", ".data")))}


def test_the_wheel_switches_the_server_extension_on(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert any(name.endswith("data/etc/jupyter/jupyter_server_config.d/cloudcontents.json") for name in archive.namelist())


def test_the_wheel_is_described_and_licensed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    assert licences
    assert "License-Expression: BSD-3-Clause" in metadata
    assert "Requires-Python: >=3.10" in metadata


def test_the_sdist_holds_the_sources_and_the_documents(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "docs/index.md", "jupyter-config/cloudcontents.json"}
    assert wanted <= names
    assert not any(name.startswith((".venv", "test-results", "site/")) for name in names)
