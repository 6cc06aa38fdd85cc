"""`make rig`: every server at once, to click around. `python -m rig install` only installs them."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
from pathlib import Path

from rig.install import RigError
from rig.together import SERVERS, Rig


def main() -> None:
    """Run the servers until Ctrl-C, or install them."""
    parser = argparse.ArgumentParser(prog="rig", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "install"], nargs="?", default="run")
    command = parser.parse_args().command
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            if command == "install":
                for server in SERVERS.values():
                    server(Path(), Path()).install()
            else:
                run()
        except RigError as error:
            raise SystemExit(f"rig: {error}") from None


def run() -> None:
    """Start every server, say how to reach it, and wait."""
    with Rig(Path("test-results") / "rig") as rig:
        for name in SERVERS:
            server = rig.server(name)
            print(f"\n# {server.name}: {server.url}   (log: {server.log})")
            if server.dialect:
                print(f"# a bucket: {server.new_bucket()}")
                for variable, value in server.environment().items():
                    print(f"export {variable}={shlex.quote(value)}")
        print("\nCtrl-C stops them and removes what they stored.", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
