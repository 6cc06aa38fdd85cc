"""Run the test suites that upstream publishes against our manager, unmodified but for the fixtures that choose the manager.

    python tests/upstream/run.py server memory
    python tests/upstream/run.py collaboration file -x
    python tests/upstream/run.py server file test_up_api.py::test_rename
    python tests/upstream/run.py server minio

Upstream's suites are packages called `tests` and bring pytest settings of their own, so each runs as a pytest process by itself. Further
arguments go to pytest; a run that selects (`-k`, `-m`, `::`) does not check how many tests passed, a whole run does.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sdist import unpacked_sdist

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))

from rig.together import SERVERS, Rig  # noqa: E402

#: The URL of a bucket, by the protocol of its server.
URLS = {"s3": "s3://{bucket}", "gcs": "gs://{bucket}", "azure": "az://{account}/{bucket}"}
PACKAGES = {"server": "jupyter_server", "collaboration": "jupyter_server_ydoc"}


def main() -> int:
    """Fetch the suite, run pytest on it, and return pytest's exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suite", choices=PACKAGES)
    parser.add_argument("store", choices=["memory", "file", *(set(SERVERS) - {"toxiproxy"})])
    options, pytest_arguments = parser.parse_known_args()

    if "pytest-asyncio" in {found.name for found in importlib.metadata.distributions()}:
        raise SystemExit("pytest-asyncio must not be installed beside upstream's suites: pytest-jupyter runs their coroutines.")

    sources = unpacked_sdist(PACKAGES[options.suite])
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join([str(sources), str(HERE)])
    environment["CLOUDCONTENTS_UPSTREAM_STORE"] = options.store
    # A setting of the machine must not choose another bucket.
    for name in ("CLOUDCONTENTS_URL", "CLOUDCONTENTS_UPSTREAM_BUCKET"):
        environment.pop(name, None)
    suite = HERE / options.suite
    command = [sys.executable, "-m", "pytest", "-c", str(sources / "pyproject.toml"), "--rootdir", str(PROJECT)]
    command += ["--confcutdir", str(suite), "--import-mode=prepend", "-p", "no:cacheprovider", "--color=auto"]
    command += [
        "--override-ini=log_cli=false",
        "--override-ini=log_cli_level=info",
        "--override-ini=timeout_method=signal",
        "--durations=0",
        "--durations-min=20",
    ]
    named = [argument for argument in pytest_arguments if not argument.startswith("-") and ".py" in argument]
    chosen = [str(suite / Path(argument).name) if argument in named else argument for argument in pytest_arguments]
    if not named:
        chosen.append(str(suite))
    # Collaboration writes a database into the working directory.
    with tempfile.TemporaryDirectory() as scratch, Rig(PROJECT / "test-results" / "rig") as rig:
        if options.store == "memory":
            environment["CLOUDCONTENTS_UPSTREAM_BUCKET"] = "memory://upstream"
        elif options.store in SERVERS:
            server = rig.server(options.store)
            environment |= server.environment()
            url = URLS[server.dialect].format(bucket=server.new_bucket(), account=getattr(server, "account", ""))
            environment["CLOUDCONTENTS_UPSTREAM_BUCKET"] = url
        return subprocess.run([*command, *chosen], cwd=scratch, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
