"""``/cloudcontents/status``: what this server shows, whether its store answers, and what waits to be finished."""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import anyio
from tornado import web

from ..errors import CloudContentsError, DeadlineError
from ..namespace import Mount
from .base import CloudHandler

#: Seconds that a store has to answer in.
_DEADLINE = 5.0


class StatusHandler(CloudHandler):
    """The state of the server's buckets."""

    _track_activity = False

    @web.authenticated
    async def get(self) -> None:
        """Send it as JSON. Asks each store two things at most, and waits no longer than a few seconds for it."""
        mounts = self.mounts()
        found: dict[str, dict[str, Any]] = {}

        async def look(mount: Mount) -> None:
            found[mount.name] = await _state(mount)

        async with anyio.create_task_group() as group:
            for mount in mounts:
                group.start_soon(look, mount)
        await self.reply({"version": version("cloudcontents"), "mounts": [found[mount.name] for mount in mounts]})


def is_safe_for_concurrent_editing(mount: Mount) -> bool:
    """Whether two people can save one file without one of them losing it unseen: the store must compare and swap (promise G9)."""
    capabilities = mount.bucket.capabilities
    return capabilities.put_if_version and capabilities.put_if_absent


async def _state(mount: Mount) -> dict[str, Any]:
    state: dict[str, Any] = {
        "path": mount.name,
        "url": mount.bucket.url,
        "safe_for_concurrent_editing": is_safe_for_concurrent_editing(mount),
        "capabilities": asdict(mount.bucket.capabilities),
        "reachable": True,
        "error": None,
        "milliseconds": None,
        "pending_operations": None,
    }
    started = time.perf_counter()
    try:
        with anyio.fail_after(_DEADLINE):
            await mount.bucket.is_empty("")
            state["milliseconds"] = round((time.perf_counter() - started) * 1000, 1)
            state["pending_operations"] = len(await mount.journal.pending())
    except CloudContentsError as error:
        state |= _unreachable(error)
    except TimeoutError:
        state |= _unreachable(DeadlineError(f"The store did not answer within {_DEADLINE:g} s."))
    return state


def _unreachable(error: CloudContentsError) -> dict[str, Any]:
    return {"reachable": False, "error": {"code": error.code, "message": error.message}}
