"""What the manager is configured with and what it stands on: traits, the buckets, threads, start-up work, clean-up."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from jupyter_server.services.contents.manager import AsyncContentsManager
from nbformat.sign import NotebookNotary
from traitlets import Bool, Dict, Float, Int, TraitError, Unicode, default, validate

from . import keys
from .backends.interface import Backend, ObjectInfo
from .bases import Bases
from .checkpoints import BucketCheckpoints
from .config import parse_url
from .errors import CloudContentsError, ConfigurationError, InvalidPathError
from .mounts import default_variables, expand, open_mounts
from .namespace import Location, Mount, Namespace
from .offload import Offload
from .registry import open_backend
from .saves import Saves
from .trust import AnyThreadStore, TrustThread
from .uploads.chunks import Chunks
from .uploads.engine import Uploads
from .uploads.recovered import RecoveredFiles
from .uploads.settings import UploadSettings


class ManagerSettings(UploadSettings, AsyncContentsManager):
    """The settings of `CloudContentsManager`; its verbs are there."""

    url = Unicode(
        config=True,
        help="""Bucket URL, e.g. s3://bucket/home/me or file:///home/me/bucket; without a bucket (s3://, gs://, az://account) all that the
        credentials may see are the top directories. No credentials in it. Default: the environment variable CLOUDCONTENTS_URL.""",
    )
    mounts = Dict(
        config=True,
        help="""Many buckets as one tree: by the path that each is shown under a bucket URL, or {"url": …, "read_only": True}. "" is the
        root; without one, and without `url`, the root holds the others only. One that cannot be reached does not hinder the others.""",
    )
    variables = Dict(
        config=True,
        help="""What {name} stands for in bucket URLs, besides {username}: each user's own prefix in a bucket that all share.""",
    )
    max_editor_size = Int(
        100 * 2**20,
        min=0,
        config=True,
        help="""Largest file, in bytes, that is read into an editor; above it the user is told how to download it. Reading a file takes
        several times its size in memory, on the server and in the browser. 0: no limit.""",
    )
    delete_to_trash = Bool(True, config=True, help="Keep what is deleted in the bucket's trash for trash_days; a server-side copy.")
    trash_days = Float(7, min=0, config=True, help="Days after which the trash is emptied.")
    conflict_days = Float(30, min=0, config=True, help="Days for which the text of a save that was refused is kept.")
    always_delete_dir = Bool(
        False, config=True, help="Delete non-empty directories even with delete_to_trash off; else they are refused then."
    )
    max_copy_folder_size_mb = Int(500, min=0, config=True, help="Largest directory, in MiB, that is copied at once. 0: no limit.")
    hash_algorithm = Unicode(help="How `hash` of a model is made: sha256, or version where the store keeps no metadata.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._namespace: Namespace | None = None
        self._offload = Offload("content", 2)
        self._trust = TrustThread(lambda: self.notary)
        self._served = Bases()
        self._saves = Saves(self._served, self._offload)
        self._uploads: Uploads | None = None
        self._chunks: Chunks | None = None
        if self.config.FileContentsManager:
            self.log.warning("Settings of c.FileContentsManager have no effect here; use c.ContentsManager or c.CloudContentsManager.")

    # --- what it stands on --------------------------------------------------------------------------------------------------

    @property
    def namespace(self) -> Namespace:
        """The buckets. Opened at first use; no request is made, and nothing is bound to the event loop."""
        if self._namespace is None:
            stores = open_mounts(self.mounts, self._variables())
            own = type(self).open_backend is not ManagerSettings.open_backend
            if "" not in stores and (self.url or own or not stores):
                stores[""] = self.open_backend()
            self._namespace = Namespace(stores)
        return self._namespace

    @property
    def uploads(self) -> Uploads:
        """The upload engine on these buckets."""
        if self._uploads is None:
            self._uploads = Uploads(
                lambda: self.namespace,
                limits=self.upload_limits(),
                expire_seconds=self.upload_expire_hours * 3600,
                keep_abandoned=self.keep_abandoned_uploads,
                pre_hook=self.pre_upload_hook,
                post_hook=self.post_upload_hook,
                locate=self.resolve_new,
                publish=self.publish,
                log=self.log,
            )
        return self._uploads

    @property
    def chunks(self) -> Chunks:
        """JupyterLab's own uploads, under way in this process."""
        if self._chunks is None:
            self._chunks = Chunks(self.uploads)
        return self._chunks

    def resolve_new(self, path: str) -> Location:
        """Where something new is to be; the manager's reading half says how."""
        raise NotImplementedError

    async def publish(self, path: str, info: ObjectInfo, *, message: str | None = None) -> dict[str, Any]:
        """End a write; the manager's writing half says how."""
        raise NotImplementedError

    def _variables(self) -> dict[str, str]:
        return {**default_variables(), **{str(name): str(value) for name, value in self.variables.items()}}

    def open_backend(self) -> Backend:
        """Open the store. Override it to bring a store of your own.

        Raises:
            ConfigurationError: No URL is set, or it cannot be used.
        """
        if not self.url:
            raise ConfigurationError(
                "No bucket is configured. Set c.CloudContentsManager.url, for example to 'file:///home/me/bucket', or the "
                "environment variable CLOUDCONTENTS_URL."
            )
        return open_backend(expand(self.url, self._variables()), accounts=True)

    async def recover(self) -> list[str]:
        """Finish what a crash left unfinished; one line for each piece of work. Safe to repeat, and on many servers at once."""
        lines: list[str] = []

        async def one(mount: Mount) -> None:
            lines.extend(await mount.tree.recover())

        await self._each_mount(one)
        if isinstance(self.checkpoints, BucketCheckpoints):
            lines += await self.checkpoints.recover()
        return lines

    async def sweep(self) -> dict[str, int]:
        """Delete what was kept long enough: trash, refused texts, abandoned uploads. Safe to repeat, and on many servers at once."""
        count = {"trash": 0, "conflicts": 0, "uploads": 0, "leftovers": 0}

        async def one(mount: Mount) -> None:
            count["trash"] += await mount.trash.empty(max_age_seconds=self.trash_days * 86400)
            count["conflicts"] += await mount.conflicts.sweep(self.conflict_days * 86400)
            await RecoveredFiles(mount.bucket).sweep(self.recovered_upload_days)
            count["leftovers"] += await mount.bucket.sweep()

        await self._each_mount(one)
        count["uploads"] += await self.uploads.sweep()
        return count

    async def _each_mount(self, work: Callable[[Mount], Awaitable[None]]) -> None:
        """Do something with each bucket that may be written; the failure of one is told after the others had their turn."""
        failures: list[CloudContentsError] = []
        for mount in self.namespace.mounts:
            if not mount.read_only:
                try:
                    await work(mount)
                except CloudContentsError as error:
                    failures.append(error)
        if failures:
            raise failures[0]

    async def close(self) -> None:
        """Free clients and threads. Safe to repeat; a later call opens them again."""
        if self._uploads is not None:
            await self._uploads.close()
        if self._namespace is not None:
            await self._namespace.close()
        if isinstance(self.checkpoints, BucketCheckpoints):
            await self.checkpoints.close()
        self._offload.close()
        self._trust.close()

    def info_string(self) -> str:
        """What the server prints at start."""
        shown = [f"{mount.bucket.url}{f' at {mount.name}' if mount.name else ''}" for mount in self.namespace.mounts]
        return f"Serving notebooks from {', '.join(shown)}"

    # --- traits that the server reads ---------------------------------------------------------------------------------------

    @default("url")
    def _default_url(self) -> str:
        return os.environ.get("CLOUDCONTENTS_URL", "")

    @validate("url")
    def _validate_url(self, proposal: Mapping[str, Any]) -> str:
        value = cast(str, proposal["value"])
        if value:
            try:
                parse_url(value)
            except ConfigurationError as error:
                raise TraitError(error.message) from None
        return value

    @default("root_dir")
    def _default_root_dir(self) -> str:
        # A real local directory: Notebook 7, language servers and collaboration use it as one. The bucket is in `url`.
        root = getattr(self.parent, "root_dir", None)
        return root if isinstance(root, str) and root else os.getcwd()

    @validate("preferred_dir")
    def _validate_preferred_dir(self, proposal: Mapping[str, Any]) -> str:
        # By name only: the store may be away, and the event loop here is not the one that serves. The extension looks after start.
        try:
            return keys.clean(cast(str, proposal["value"]))
        except InvalidPathError as error:
            raise TraitError(error.message) from None

    @default("notary")
    def _default_notary(self) -> NotebookNotary:
        notary = NotebookNotary(parent=self)
        if "store_factory" not in self.config.NotebookNotary:
            notary.store.close()
            notary.store_factory = lambda: AnyThreadStore(notary.db_file, parent=notary)
            notary.store = notary.store_factory()
        return notary

    @default("hash_algorithm")
    def _default_hash_algorithm(self) -> str:
        return "sha256" if self.namespace.mounts[0].bucket.capabilities.metadata else "version"

    @default("checkpoints_class")
    def _default_checkpoints_class(self) -> type:
        return BucketCheckpoints

    @default("checkpoints_kwargs")
    def _default_checkpoints_kwargs(self) -> dict[str, Any]:
        return {"parent": self, "log": self.log}

    @default("checkpoints")
    def _default_checkpoints(self) -> Any:
        # A user who sets checkpoints_kwargs replaces the default; these two are needed all the same.
        return self.checkpoints_class(**{"parent": self, "log": self.log, **self.checkpoints_kwargs})

    @default("files_handler_class")
    def _default_files_handler_class(self) -> type:
        from .handlers.files import FilesHandler  # the handlers name the manager; the import cannot go both ways

        return FilesHandler

    def get_extra_handlers(self) -> list[Any]:
        """Our routes, beside the server's own."""
        from .handlers import handlers

        return [*super().get_extra_handlers(), *handlers()]
