"""Opening and saving a notebook of 50 KB on each cloud's server with time added to each request: `python -m benchmarks latency`."""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from .notebooks import as_sent
from .peer_servers import MINE, S3CONTENTS, Side, sides
from .precedence import share
from .servers import OURS, Server
from .wire import Rig, Wire

#: Seconds that each request to a store waits before it is passed on.
ADDED = 0.02

#: Operations in each round.
TIMES = 5


def _clouds(rig: Rig, home: Path, stack: contextlib.ExitStack) -> dict[str, Side]:
    found: dict[str, Side] = {}
    addresses = {
        "fake_gcs": lambda server, bucket: f"gs://{bucket}",
        "azurite": lambda server, bucket: f"az://{server.account}/{bucket}",
    }
    for name, address in addresses.items():
        store: Any = rig.server(name)
        share(store.pid)
        wire, place = Wire(store), home / name
        stack.callback(wire.close)
        place.mkdir()
        environment = {"CLOUDCONTENTS_URL": address(store, store.new_bucket()), **store.environment(wire.url)}
        found[f"{MINE} on {store.name}"] = Side(Server(name, place, OURS, environment), wire=wire)
    for side in found.values():
        stack.callback(side.server.stop)
        side.server.start()
    minio = rig.server("minio")
    share(minio.pid)
    for side in stack.enter_context(sides(minio, home, (MINE, S3CONTENTS))):
        found[f"{side.name} on minio"] = side
    return found


def run(rounds: int, only: str, gib: float, to: Path | None) -> None:
    """Measure in turns, report. `gib` is not used."""
    took: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    requests: dict[str, dict[str, float]] = defaultdict(dict)
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks-")))
        rig = stack.enter_context(Rig(home / "logs"))
        clouds = {name: side for name, side in _clouds(rig, home, stack).items() if only in name}
        bodies = [
            json.dumps({"type": "notebook", "format": "json", "content": as_sent(10, str(number))}).encode() for number in range(TIMES)
        ]
        for side in clouds.values():
            side.server.request("PUT", side.api("notebook.ipynb"), bodies[0])
            side.server.request("GET", side.api("notebook.ipynb"))
        for _ in range(rounds):
            for name, side in clouds.items():
                assert side.wire is not None
                side.wire.delay(ADDED)
                work = {
                    "open": lambda side, number: side.server.request("GET", side.api("notebook.ipynb") + "?type=notebook&content=1&hash=1"),
                    "look (content=0)": lambda side, number: side.server.request("GET", side.api("notebook.ipynb") + "?content=0&hash=1"),
                    "save": lambda side, number: side.server.request("PUT", side.api("notebook.ipynb"), bodies[number]),
                }
                for what, once in work.items():
                    side.wire.forget()
                    for number in range(TIMES):
                        begun = time.perf_counter()
                        once(side, number)
                        took[name][what].append(time.perf_counter() - begun)
                    requests[name][what] = side.wire.count() / TIMES
                side.wire.delay(0)
    names = ("open", "look (content=0)", "save")
    print(f"| | {' | '.join(names)} |\n| --- |{' ---: |' * len(names)}")
    for name, found in took.items():
        cells = [f"{statistics.median(found[what]) * 1000:.1f} ms · {requests[name][what]:.3g} req" for what in names]
        print(f"| {name} | {' | '.join(cells)} |")
    if to:
        to.write_text(json.dumps({"added": ADDED, "seconds": took, "requests": requests}, indent=1))
