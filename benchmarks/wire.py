"""The rig's fault proxy in a process of its own: it counts the requests to a store, and adds time to each."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TESTS = Path(__file__).parent.parent / "tests"
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))  # the rig is there

from rig.faultproxy import FaultProxy  # noqa: E402
from rig.together import Rig  # noqa: E402


class Wire:
    """A proxy before a server of the rig. Close it.

    Attributes:
        url: What to give to a client in place of the server's.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        told = json.dumps({"url": server.url, "endpoint": server.endpoint, "dialect": server.dialect})
        self._process = subprocess.Popen([sys.executable, __file__, told], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint = self._line()
        self.url = self.endpoint + urlsplit(server.url).path
        server.advertise(self.endpoint)

    def forget(self) -> None:
        """Count from zero."""
        self._ask("forget")

    def count(self) -> int:
        """The requests so far."""
        return int(self._ask("count"))

    def delay(self, seconds: float) -> None:
        """From now on each request waits so long before it is passed on; 0: none does."""
        self._ask(f"delay {seconds}")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _ask(self, words: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the proxy has ended")
        return line.strip()


@dataclass
class _Upstream:
    url: str
    endpoint: str
    dialect: str

    def advertise(self, endpoint: str) -> None:
        """Told by the other process, which knows the server."""


def _main(upstream: _Upstream) -> None:
    proxy = FaultProxy(upstream, seed=1)
    real, sys.stdout = sys.stdout, sys.stderr  # it prints its seed
    with proxy:
        print(proxy.endpoint, file=real, flush=True)
        for line in sys.stdin:
            word, *more = line.split()
            answer = "done"
            if word == "forget":
                proxy.forget()
            elif word == "count":
                answer = str(proxy.count())
            elif word == "delay":
                proxy.heal()
                if float(more[0]):
                    proxy.delay(float(more[0]))
            print(answer, file=real, flush=True)


__all__ = ["Rig", "Wire"]

if __name__ == "__main__":
    _main(_Upstream(**json.loads(sys.argv[1])))
