"""One process of a race on a bucket, told what to do on its standard input; the tests run it as a program: ``race_worker.py URL``.

A line in is a command with its arguments as JSON, a line out is its result; the first line out says that it is ready.

- ``["count", steps]``: add one to the object `counter` so many times, by compare-and-swap.
- ``["create", key, text, pause, *others]``: after a pause make an object where nothing is, and then the others, each a key and its text;
  true if it was made.
"""

from __future__ import annotations

import asyncio
import json
import sys

from cloudcontents.backends.interface import IF_ABSENT, IfVersion
from cloudcontents.bucket import Bucket
from cloudcontents.errors import AlreadyExistsError, ConflictError
from cloudcontents.registry import open_backend


async def count(bucket: Bucket, steps: int) -> bool:
    for _ in range(steps):
        while True:
            info, data = await bucket.read("counter")
            try:
                await bucket.put("counter", str(int(data) + 1).encode(), when=IfVersion(info.version))
                break
            except ConflictError:
                continue
    return True


async def create(bucket: Bucket, key: str, text: str, pause: float, *others: tuple[str, str]) -> bool:
    await asyncio.sleep(pause)
    try:
        await bucket.put(key, text.encode(), when=IF_ABSENT)
    except AlreadyExistsError:
        return False
    for other, words in others:
        await bucket.put(other, words.encode())
    return True


async def main(url: str) -> None:
    bucket = Bucket(open_backend(url))
    await bucket.find("counter")  # the connection is open
    print("true", flush=True)
    commands = {"count": count, "create": create}
    while line := await asyncio.to_thread(sys.stdin.readline):
        command, *arguments = json.loads(line)
        print(json.dumps(await commands[command](bucket, *arguments)), flush=True)
    await bucket.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
