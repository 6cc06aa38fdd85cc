"""One process of a race on a bucket; run by `test_races` as a program: ``race_worker.py URL count STEPS`` or ``… URL create KEY``."""

from __future__ import annotations

import asyncio
import secrets
import sys

from cloudcontents.backends.interface import IF_ABSENT, IfVersion
from cloudcontents.bucket import Bucket
from cloudcontents.errors import AlreadyExistsError, ConflictError
from cloudcontents.registry import open_backend


async def count(bucket: Bucket, steps: int) -> None:
    for _ in range(steps):
        while True:
            info, data = await bucket.read("counter")
            try:
                await bucket.put("counter", str(int(data) + 1).encode(), when=IfVersion(info.version))
                break
            except ConflictError:
                continue


async def create(bucket: Bucket, key: str) -> None:
    mine = secrets.token_hex(8)
    try:
        await bucket.put(key, mine.encode(), when=IF_ABSENT)
    except AlreadyExistsError:
        return
    sys.stdout.write(mine)


async def main(url: str, what: str, argument: str) -> None:
    bucket = Bucket(open_backend(url))
    await (count(bucket, int(argument)) if what == "count" else create(bucket, argument))
    await bucket.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
