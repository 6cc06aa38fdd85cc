"""HTTP, and nothing but HTTP: the routes of ours, in one table."""

from __future__ import annotations

from typing import Any

from jupyter_server.base.handlers import path_regex
from tornado.web import RequestHandler

_ID = r"([^/]+)"


def handlers() -> list[tuple[str, type[RequestHandler], dict[str, Any]]]:
    """Every route beside ``/files/``: pattern (below the server's base URL), handler and its arguments.

    `CloudContentsManager.get_extra_handlers` gives it to the server.
    """
    # Not imported above: the manager imports this package, and these modules know the manager.
    from .archive import ArchiveHandler
    from .checkpoints import CheckpointContentHandler, CheckpointHandler
    from .conflicts import ConflictHandler, ConflictsHandler
    from .status import StatusHandler
    from .trash import RestoreHandler, TrashEntryHandler, TrashHandler
    from .uploads import (
        CompleteHandler,
        RecoveredHandler,
        RestoreRecoveredHandler,
        UploadEventsHandler,
        UploadHandler,
        UploadPartHandler,
        UploadPartsHandler,
        UploadsHandler,
        UploadStatisticsHandler,
    )

    return [
        (r"/cloudcontents/status", StatusHandler, {}),
        (rf"/cloudcontents/archive{path_regex}", ArchiveHandler, {}),
        (r"/cloudcontents/conflicts", ConflictsHandler, {}),
        (rf"/cloudcontents/conflicts/{_ID}", ConflictHandler, {}),
        (r"/cloudcontents/trash", TrashHandler, {}),
        (rf"/cloudcontents/trash/{_ID}", TrashEntryHandler, {}),
        (rf"/cloudcontents/trash/{_ID}/restore", RestoreHandler, {}),
        (rf"/cloudcontents/checkpoints/{_ID}", CheckpointHandler, {}),
        (rf"/cloudcontents/checkpoints/{_ID}/content", CheckpointContentHandler, {}),
        (r"/cloudcontents/uploads/?", UploadsHandler, {}),
        (r"/cloudcontents/uploads/stats", UploadStatisticsHandler, {}),
        (r"/cloudcontents/uploads/recovered", RecoveredHandler, {}),
        (rf"/cloudcontents/uploads/recovered/{_ID}/restore", RestoreRecoveredHandler, {}),
        (rf"/cloudcontents/uploads/{_ID}", UploadHandler, {}),
        (rf"/cloudcontents/uploads/{_ID}/parts", UploadPartsHandler, {}),
        (rf"/cloudcontents/uploads/{_ID}/parts/(\d{{1,9}})", UploadPartHandler, {}),
        (rf"/cloudcontents/uploads/{_ID}/complete", CompleteHandler, {}),
        (rf"/cloudcontents/uploads/{_ID}/events", UploadEventsHandler, {}),
    ]
