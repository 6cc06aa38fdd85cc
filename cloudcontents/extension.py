"""The server extension: what a contents manager cannot do for itself, since nobody tells it when the server starts and stops.

After the start, in the background: finish what a crash left, say if the store is unsafe for concurrent editing, and from then on sweep now
and then. At the end: give clients and threads back. A store that is away delays none of it and stops no server. With another contents
manager in use it does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio
from jupyter_server.extension.application import ExtensionApp
from tornado.web import HTTPError

from . import redact
from .errors import CloudContentsError
from .handlers.contents import contents_routes
from .handlers.status import is_safe_for_concurrent_editing
from .keys import show

if TYPE_CHECKING:
    from .manager import CloudContentsManager

#: Seconds after the start at which journal entries are looked at again: by then the lease of a server that died just before has run out.
_SECOND_LOOK = 45.0
#: Seconds between two looks at the journal from then on, and between two sweeps; each a little longer or shorter, so that servers
#: started together do not stay together.
_LOOK_EVERY = 600.0
_SWEEP_EVERY = 3600.0

#: Seconds that closing the clients may take at the end.
_CLOSING = 10.0


class CloudContentsExtension(ExtensionApp):
    """Owns start and stop of the bucket behind a `CloudContentsManager`."""

    name = "cloudcontents"
    description = "Recovery, sweeps and an orderly end for the buckets of CloudContentsManager."

    _tasks: tuple[asyncio.Task[None], ...] = ()

    def initialize_settings(self) -> None:
        """Write to the server's own log; under a manager of ours, keep credentials out of it from here on."""
        if self.serverapp is not None:
            self.log = self.serverapp.log
        if self.contents_manager() is not None:
            redact.install()
            redact.install(self.log)

    def initialize_handlers(self) -> None:
        """Put our handler of large answers in the place of the server's own, with the routes that its pattern would hide."""
        if self.contents_manager() is not None:
            self.handlers.extend(contents_routes())

    def contents_manager(self) -> CloudContentsManager | None:
        """The server's contents manager, if it is one of ours; asked anew each time, since an extension may replace it."""
        from .manager import CloudContentsManager  # not before it is needed: another manager may be in use

        manager = self.serverapp.web_app.settings.get("contents_manager") if self.serverapp is not None else None
        return manager if isinstance(manager, CloudContentsManager) else None

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        """Begin the work in the background; called once the event loop runs."""
        if self.contents_manager() is not None:
            # What is loaded by now stays for good. Looking through it again and again for garbage stops the whole server for 0.1 s each
            # time, and a listing of 10,000 entries is enough to bring that about (docs/benchmarks.md).
            gc.collect()
            gc.freeze()
            self._tasks = (asyncio.create_task(self._look_after_journal()), asyncio.create_task(self._sweep_now_and_then()))

    async def stop_extension(self) -> None:
        """End the work and free clients and threads. A request still under way opens them again. Safe to repeat."""
        tasks, self._tasks = self._tasks, ()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        manager = self.contents_manager()
        if manager is not None:
            with anyio.move_on_after(_CLOSING) as scope, contextlib.suppress(CloudContentsError):
                await manager.close()
            if scope.cancelled_caught:
                self.log.warning("The clients of the store did not close within %g s; the server ends without waiting.", _CLOSING)

    async def recover(self) -> None:
        """Finish what other servers, or an earlier life of this one, left unfinished."""
        manager = self.contents_manager()
        if manager is not None:
            for line in await manager.recover():
                self.log.info("Recovered: %s", line)

    async def sweep(self) -> None:
        """Delete what is kept for some time only, once its time is over."""
        manager = self.contents_manager()
        if manager is not None:
            await manager.sweep()

    async def warn_of_unsafe_stores(self) -> None:
        """Say in the log which stores cannot keep two people's saves apart (promise G9)."""
        manager = self.contents_manager()
        for mount in manager.namespace.mounts if manager is not None else ():
            if not is_safe_for_concurrent_editing(mount):
                self.log.warning(
                    "%s has no conditional writes: when two people, or two servers, save one file, the later save wins unseen. "
                    "Let one person at a time write to it, or use a store that has them ('cloudcontents doctor' tells).",
                    mount.bucket.url,
                )

    async def look_for_preferred_dir(self) -> None:
        """Say in the log if the directory that JupyterLab is to open in is not there; the manager could check its name only."""
        manager = self.contents_manager()
        path = manager.preferred_dir if manager is not None else ""
        if manager is not None and path and not await manager.dir_exists(path):
            self.log.warning("The preferred directory %s does not exist in the bucket; JupyterLab opens at the top.", show(path))

    async def _look_after_journal(self) -> None:
        await self._carefully("warn of unsafe stores", self.warn_of_unsafe_stores)
        await self._carefully("look for the preferred directory", self.look_for_preferred_dir)
        await self._carefully("recover unfinished operations", self.recover)
        pause = _SECOND_LOOK
        while True:
            await asyncio.sleep(pause * random.uniform(1.0, 1.2))  # noqa: S311
            await self._carefully("recover unfinished operations", self.recover)
            pause = _LOOK_EVERY

    async def _sweep_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_EVERY * random.uniform(0.5, 1.5))  # noqa: S311
            await self._carefully("sweep", self.sweep)

    async def _carefully(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do something whose failure is no reason to stop: it is logged, and its turn comes again."""
        try:
            await work()
        except CloudContentsError as error:
            self.log.warning("Could not %s; trying again later. %s", what, error.message)
        except HTTPError as error:
            self.log.warning("Could not %s. %s", what, error.log_message)
        except Exception:
            self.log.exception("Could not %s; trying again later.", what)
