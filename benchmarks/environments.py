"""The peers' own environments: each is made once, by pip, in the user's cache directory."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

#: By the name in the report. Jupyter Server is of one version everywhere.
PACKAGES = {
    "s3contents": ("s3contents==0.11.2", "s3fs"),
    "jupyter-fs (fsspec)": ("jupyter-fs==1.2.1", "s3fs"),
    # Its file system for S3 asks for pkg_resources.
    "jupyter-fs (pyfs)": ("jupyter-fs==1.2.1", "fs-s3fs==1.1.1", "setuptools<81"),
}


def python_of(peer: str) -> str:
    """The interpreter of a peer's environment, which is made now if it was not before."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cloudcontents" / "peers"
    directory = cache / "".join(letter for letter in peer if letter.isalnum() or letter == "-")
    wanted = [*PACKAGES[peer], f"jupyter_server=={version('jupyter_server')}"]
    stamp, python = directory / "installed.txt", directory / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != "\n".join(wanted):
        print(f"{peer}: installing {' '.join(wanted)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
        subprocess.run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *wanted], check=True)
        stamp.write_text("\n".join(wanted))
    return str(python)
