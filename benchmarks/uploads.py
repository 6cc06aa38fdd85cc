"""Uploads to MinIO through each door, beside boto3's own transfer and s3contents: `python -m benchmarks uploads`.

All take turns, round by round. What arrived is compared by SHA-256 with what was sent, as boto3 reads it from the store.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig

from .figures import Figures
from .peer_servers import MINE, S3CONTENTS, Side, sides
from .precedence import share
from .servers import RefusedError
from .wire import Rig

#: Seconds of rest before a turn, so that memory is what a server holds at rest.
_REST = 0.3
_PIECE = 1 << 20
_PART = 8 << 20
_WORKERS = 4


class Source:
    """The file that is sent.

    Args:
        path: Where it is made, of random bytes.
        size: Its bytes.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for at in range(0, size, _PIECE):
                piece = os.urandom(min(_PIECE, size - at))
                digest.update(piece)
                file.write(piece)
        self.sha256 = digest.hexdigest()

    def pieces(self, start: int = 0, length: int | None = None, size: int = _PIECE) -> Iterator[bytes]:
        """Its bytes, or some of them."""
        left = self.size - start if length is None else length
        with self.path.open("rb") as file:
            file.seek(start)
            while left > 0 and (piece := file.read(min(size, left))):
                left -= len(piece)
                yield piece


def tus(side: Side, source: Source) -> None:
    """One PATCH, streamed."""
    address = _create(side, source.size, path="up.bin")
    _patch(side, address, source, 0, source.size)


def tus_in_parallel(side: Side, source: Source) -> None:
    """Partial uploads at once, put together by the server: tus-js-client's ``parallelUploads``."""
    each = -(-source.size // _WORKERS)
    cuts = [(start, min(each, source.size - start)) for start in range(0, source.size, each)]

    def one(cut: tuple[int, int]) -> str:
        address = _create(side, cut[1], **{"Upload-Concat": "partial"})
        _patch(side, address, source, *cut)
        return address

    with ThreadPoolExecutor(_WORKERS) as threads:
        addresses = list(threads.map(one, cuts))
    _ask(side, "POST", "/cloudcontents/uploads?path=up.bin", None, {"Upload-Concat": f"final;{' '.join(addresses)}", "If-Match": "*"})


def parts(side: Side, source: Source) -> None:
    """Parts by number, four at once."""
    begun = side.server.json("POST", "/cloudcontents/uploads", {"path": "up.bin", "size": source.size, "overwrite": True})
    each = begun["part_size"]

    def one(number: int) -> None:
        data = b"".join(source.pieces((number - 1) * each, min(each, source.size - (number - 1) * each)))
        side.server.request("PUT", f"/cloudcontents/uploads/{begun['id']}/parts/{number}", data)

    with ThreadPoolExecutor(_WORKERS) as threads:
        list(threads.map(one, range(1, -(-source.size // each) + 1)))
    side.server.json("POST", f"/cloudcontents/uploads/{begun['id']}/complete", {})


def chunks(side: Side, source: Source) -> None:
    """JupyterLab's own way: 1 MiB at a time, base64 in JSON."""
    held: bytes | None = None
    number = 0
    for piece in source.pieces():
        if held is not None:
            number += 1
            _chunk(side, number, held)
        held = piece
    _chunk(side, -1, held or b"")


def boto3_itself(side: Side, source: Source) -> None:
    """boto3's transfer of a file, with four threads: nothing between it and the store."""
    config = TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=_WORKERS)
    side.client.upload_file(str(source.path), side.bucket, "up.bin", Config=config)


#: Name, who does it, how.
DOORS: list[tuple[str, str, Callable[[Side, Source], None]]] = [
    ("boto3, 4 threads", MINE, boto3_itself),
    ("tus, one PATCH", MINE, tus),
    ("tus, 4 in parallel", MINE, tus_in_parallel),
    ("parts by number, 4 workers", MINE, parts),
    ("chunk saves", MINE, chunks),
    ("chunk saves, s3contents", S3CONTENTS, chunks),
]


def run(rounds: int, only: str, gib: float, to: Path | None) -> None:
    """Start all, measure in turns, report."""
    chosen = [door for door in DOORS if only in door[0]]
    figures: dict[str, Figures] = defaultdict(Figures)
    notes: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory, Rig(Path(directory, "logs")) as rig:
        minio = rig.server("minio")
        share(minio.pid)
        source = Source(Path(directory, "source"), int(gib * 2**30))
        with sides(minio, Path(directory), dict.fromkeys(who for _, who, _ in chosen), wired=False) as started:
            for turn in range(rounds):
                for name, who, door in chosen if turn % 2 == 0 else reversed(chosen):
                    side = next(side for side in started if side.name == who)
                    if name not in notes:
                        try:
                            _measure(side, source, door, figures[name])
                        except RefusedError as error:
                            notes[name] = str(error)
                        print(f"{name}, turn {turn}: {figures[name].seconds[-1:]}", file=sys.stderr)
    summaries = {name: found.summary() for name, found in figures.items() if found.seconds}
    print(_report([name for name, _, _ in chosen], summaries, notes, source.size))
    if to:
        to.write_text(json.dumps({"rounds": rounds, "bytes": source.size, "summary": summaries, "notes": notes}, indent=1))


def _measure(side: Side, source: Source, door: Callable[[Side, Source], None], figures: Figures) -> None:
    side.client.delete_object(Bucket=side.bucket, Key="up.bin")
    with contextlib.suppress(RefusedError):
        side.server.json("GET", f"{side.api('up.bin')}?content=0")  # as who looks, and sees that it is gone
    time.sleep(_REST)
    assert side.pings is not None
    at_rest = side.server.memory()
    side.server.reset_peak()
    with side.pings:
        begun = time.perf_counter()
        door(side, source)
        figures.seconds.append(time.perf_counter() - begun)
    figures.memory.append(side.server.memory("VmHWM") - at_rest)
    figures.pings += side.pings.seconds
    digest = hashlib.sha256()
    for piece in side.client.get_object(Bucket=side.bucket, Key="up.bin")["Body"].iter_chunks(_PIECE):
        digest.update(piece)
    if digest.hexdigest() != source.sha256:
        raise RefusedError("answered with success, but the object has other bytes")


def _report(names: list[str], summaries: dict[str, Any], notes: dict[str, str], size: int) -> str:
    lines = ["| | MB/s | seconds | of boto3 | memory over rest | /api/status p99 | longest |", f"| --- |{' ---: |' * 6}"]
    reference = summaries.get(names[0])
    for name in names:
        found = summaries.get(name)
        if found is None or name in notes:
            lines.append(f"| {name} | no: {notes.get(name, '')} |")
            continue
        took = found["milliseconds"] / 1000
        of = f"{reference['milliseconds'] / found['milliseconds']:.2f}" if reference else ""
        lines.append(
            f"| {name} | **{size / took / 1e6:.0f}** | {took:.2f} | {of} | +{found['peak_mib']:,.0f} MiB"
            f" | {found['ping_p99']:.0f} ms | {found['ping_max']:.0f} ms |"
        )
    return "\n".join(lines)


# --- requests ---------------------------------------------------------------------------------------------------------------


def _create(side: Side, size: int, *, path: str | None = None, **headers: str) -> str:
    query = f"?path={path}" if path else ""
    told, _ = _ask(side, "POST", f"/cloudcontents/uploads{query}", None, {"Upload-Length": str(size), "If-Match": "*", **headers})
    return str(told["Location"])


def _patch(side: Side, address: str, source: Source, start: int, length: int) -> None:
    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream", "Content-Length": str(length)}
    _ask(side, "PATCH", address, source.pieces(start, length), headers)


def _chunk(side: Side, number: int, data: bytes) -> None:
    # Put together by hand: what is measured is the server, not how fast its client writes JSON.
    model = json.dumps({"type": "file", "format": "base64", "name": "up.bin", "path": "up.bin", "chunk": number}).encode()
    side.server.request("PUT", side.api("up.bin"), model[:-1] + b', "content": "' + base64.b64encode(data) + b'"}')


def _ask(side: Side, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", side.server.port, timeout=900)
    try:
        sent = {"Authorization": f"token {side.server.token}", "Tus-Resumable": "1.0.0", **headers}
        connection.request(method, path, body=body, headers=sent)
        reply = connection.getresponse()
        content = reply.read()
        if reply.status >= 300:
            raise RefusedError(f"{reply.status} {content[:200].decode(errors='replace')}")
        return reply.headers, content
    finally:
        connection.close()
