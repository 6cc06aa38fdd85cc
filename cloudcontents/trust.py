"""The signature database of trusted notebooks, used from a thread of its own: it is a file, and signing a big notebook takes long."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from nbformat.sign import NotebookNotary, SQLiteSignatureStore

from .offload import Offload


class AnyThreadStore(SQLiteSignatureStore):
    """nbformat's own database, opened so that the server's other threads may ask it too."""

    def _connect_db(self, db_file: str) -> sqlite3.Connection:
        # The first connection does all that nbformat does for a damaged or unwritable file, and settles which file it is.
        super()._connect_db(db_file).close()
        connection = sqlite3.connect(self.db_file, detect_types=sqlite3.PARSE_DECLTYPES | sqlite3.PARSE_COLNAMES, check_same_thread=False)
        self.init_db(connection)
        return connection


class TrustThread:
    """Runs what touches a notary, one piece after the other, off the event loop.

    Args:
        notary: Gives the notary in use.
    """

    def __init__(self, notary: Callable[[], NotebookNotary]) -> None:
        self._notary = notary
        self._thread = Offload("trust", 1)

    async def run(self, work: Callable[..., None], *args: Any) -> None:
        """Await `work` in the thread."""
        await self._thread.run(self._once_more, work, *args)

    def block(self, work: Callable[..., None], *args: Any) -> None:
        """Wait for `work` in the thread, blocking the caller."""
        self._thread.block(self._once_more, work, *args)

    def close(self) -> None:
        """End the thread. Safe to repeat; a later call starts a new one."""
        self._thread.close()

    def _once_more(self, work: Callable[..., None], *args: Any) -> None:
        try:
            work(*args)
        except sqlite3.ProgrammingError:
            # A notary that somebody else brought has its database open in another thread; it is only a connection: take one of our own.
            notary = self._notary()
            notary.store = notary.store_factory()
            work(*args)
