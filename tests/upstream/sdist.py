"""Fetch the published source distribution of an installed package, and print the directory it was unpacked into.

Upstream's own tests and sample notebooks are in there, for exactly the version that is installed. It is fetched once, by pip, into the
user's cache directory; nothing of it is kept in this repository.

    python tests/upstream/sdist.py jupyter_server
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path


def cache_directory() -> Path:
    """Where fetched distributions are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "cloudcontents" / "sdists"


def unpacked_sdist(package: str) -> Path:
    """Return the unpacked source distribution of the installed version of a package, fetching it if it is not there yet.

    Safe to repeat and to run twice at once: a directory appears whole or not at all.
    """
    release = f"{package}-{version(package)}"
    target = cache_directory() / release
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += [f"--no-binary={package}", "--dest", scratch, f"{package}=={version(package)}"]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
            raise SystemExit(f"The source distribution of {release} could not be fetched; the first run needs the network.")
        (archive,) = Path(scratch).glob("*.tar.gz")
        unpacked = Path(scratch) / "unpacked"
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(unpacked, filter="data")
            else:  # a Python older than the security fix that brought filters
                tar.extractall(unpacked)
        (content,) = unpacked.iterdir()
        try:
            content.rename(target)
        except OSError:
            if not target.is_dir():  # else another run was faster
                raise
    return target


if __name__ == "__main__":
    print(unpacked_sdist(sys.argv[1]))
