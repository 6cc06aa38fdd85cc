"""A program that runs one server and kills it, and all it started, when told or when the test run is gone, however it went.

python keeper.py <log file> <command> [argument…]

Prints the server's process id. Told by a byte or the end of its standard input; it also looks once a second whether its parent is
still the same, since a fork of the test run may hold the other end of that pipe open.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import threading

SECONDS_BETWEEN_LOOKS = 1.0
PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the server and return its exit status, negative for a signal."""
    log, *command = sys.argv[1:]
    parent = os.getppid()
    with open(log, "ab") as output:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_the_keeper,
        )
    print(server.pid, flush=True)
    ended, end = os.pipe()

    def watch() -> None:
        server.wait()
        os.close(end)

    threading.Thread(target=watch, daemon=True).start()
    while os.getppid() == parent:
        if select.select([0, ended], [], [], SECONDS_BETWEEN_LOOKS)[0]:
            break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, signal.SIGKILL)
    return server.wait()


def _die_with_the_keeper() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
