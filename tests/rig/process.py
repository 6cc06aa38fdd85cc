"""One server process: started under a keeper, waited for, stopped, paused."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from rig.install import RigError

KEEPER = Path(__file__).with_name("keeper.py")
# Generous: machines that run tests may be very busy, and a server that answers sooner is used sooner.
SECONDS_TO_START = 120.0
SECONDS_TO_STOP = 10.0
SECONDS_BETWEEN_QUESTIONS = 0.05
SECONDS_BETWEEN_LOOKS = 0.001


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A process that is running until `kill` or `stop`, or until this process is gone.

    Attributes:
        pid: The server's process id, which is its process group's too.

    Raises:
        RigError: It could not be started.
    """

    def __init__(self, command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self._command = command
        with open(log, "ab") as output:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER), str(log), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **environment},
            )
        assert self._keeper.stdout is not None
        with self._keeper.stdout as stdout:
            line = stdout.readline()
        if not line:
            self.kill()
            raise RigError(f"{command[0]} could not be started:\n{self.last_words()}")
        self.pid = int(line)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._keeper.poll() is None

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return when `ready` says so.

        Raises:
            RigError: It ended, or was not ready in time; it is killed then.
        """
        deadline = time.monotonic() + SECONDS_TO_START
        while not ready():
            if not self.running or time.monotonic() > deadline:
                state = "is not ready" if self.running else "has ended"
                self.kill()
                raise RigError(f"{self._command[0]} {state}. The end of {self.log}:\n{self.last_words()}")
            time.sleep(SECONDS_BETWEEN_QUESTIONS)

    def kill(self) -> None:
        """Kill it and everything that it started, and wait for the end. Safe to repeat."""
        if self._keeper.stdin is not None and not self._keeper.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._keeper.stdin.write(b"k")
                self._keeper.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                self._keeper.stdin.close()
        self._keeper.wait()

    def stop(self) -> None:
        """Ask it to end in good order, and kill it if it takes its time. Safe to repeat."""
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            self._signal(signal.SIGTERM)
            self._keeper.wait(SECONDS_TO_STOP)
        self.kill()

    def pause(self) -> None:
        """Let it stand still: connections open, and nobody answers. It does so when this returns."""
        self._signal(signal.SIGSTOP)
        while psutil.Process(self.pid).status() != psutil.STATUS_STOPPED:
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def resume(self) -> None:
        """End a pause. Safe to repeat."""
        self._signal(signal.SIGCONT)

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-4000:]

    def _signal(self, number: signal.Signals) -> None:
        if not self.running:
            raise ProcessLookupError(f"{self._command[0]} is not running")
        os.killpg(self.pid, number)


def answers(port: int, path: str, *, header: tuple[str, str] | None = None) -> bool:
    """Whether a GET is answered with 200 or, where a header is named, with that header beginning so."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        reply.read()
        return reply.status == 200 if header is None else (reply.getheader(header[0]) or "").startswith(header[1])
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
