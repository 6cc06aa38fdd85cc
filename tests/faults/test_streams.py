"""A large body that comes as a stream cannot be sent twice; each of its parts can."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from cloudcontents.backends.interface import SizedStream
from cloudcontents.bucket import Bucket
from cloudcontents.registry import open_backend

MIB = 2**20


@pytest.fixture
def bucket(minio, faultproxy, monkeypatch):
    proxy = faultproxy(minio)
    for name, value in minio.environment(proxy.url).items():
        monkeypatch.setenv(name, value)
    opened = Bucket(open_backend(f"s3://{minio.new_bucket()}"))
    opened.proxy = proxy
    yield opened
    asyncio.run(opened.close())


@pytest.mark.parametrize("how", ["503", "500, and done", "lost", "damaged"])
async def test_a_part_of_a_stream_is_sent_again(bucket, how):
    proxy, data = bucket.proxy, secrets.token_bytes(20 * MIB)

    async def chunks():
        for at in range(0, len(data), MIB):
            yield data[at : at + MIB]

    part = {"method": "PUT", "path": "partNumber=2", "nth": 1}
    match how:
        case "503":
            proxy.answer(503, **part)
        case "500, and done":
            proxy.answer(500, done=True, **part)
        case "lost":
            proxy.lose_reply(**part)
        case "damaged":
            proxy.flip(100, request=True, **part)
    await bucket.put("big", SizedStream(chunks(), len(data)))
    assert proxy.count("PUT", "partNumber=2") == 2
    assert (await bucket.read("big"))[1] == data


async def test_a_part_that_is_refused_for_good_is_not_sent_again(bucket):
    bucket.proxy.answer(403, method="PUT", path="partNumber=2")

    async def chunks():
        for _ in range(20):
            yield bytes(MIB)

    with pytest.raises(PermissionError):
        await bucket.put("big", SizedStream(chunks(), 20 * MIB))
    assert bucket.proxy.count("PUT", "partNumber=2") == 1
    assert bucket.proxy.count("DELETE", "uploadId") >= 1
