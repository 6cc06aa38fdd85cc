"""The half of the Contents API that changes nothing: what is where, models, content, trust."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import bases, keys, models
from .answers import verb
from .backends.interface import ObjectInfo, Reader
from .errors import (
    CloudContentsError,
    InvalidPathError,
    NotFoundError,
    TooLargeError,
    WrongTypeError,
)
from .lookup import Listing
from .models import Model
from .namespace import Location
from .settings import ManagerSettings

#: Bytes of a notebook that are read sooner than another thread could be asked to.
_SMALL = 256 * 1024


class ManagerReads(ManagerSettings):
    """The reading verbs of `CloudContentsManager`."""

    # --- questions ----------------------------------------------------------------------------------------------------------

    def resolve(self, path: str, *, read: bool = True) -> Location:
        """Where an API path leads, if this server shows it.

        Raises:
            NotFoundError: A path that cannot be, or is hidden, and is to be read.
            InvalidPathError: The same, and it is to be written.
        """
        try:
            location = self.namespace.resolve(path)
        except InvalidPathError as error:
            if read:
                raise NotFoundError(f"{keys.show(path)} does not exist.") from error
            raise
        if not self.allow_hidden and keys.is_hidden(path):
            if read:
                raise NotFoundError(f"{keys.show(path)} does not exist.")
            raise InvalidPathError(f"{keys.show(path)} is hidden; use a name that does not begin with a dot.")
        return location

    def resolve_new(self, path: str) -> Location:
        """Where something new is to be, if a bucket takes such a name."""
        location = self.resolve(path, read=False)
        limits = location.bucket.capabilities
        keys.check_new(location.path, max_bytes=limits.max_key_bytes, max_segment_bytes=limits.max_segment_bytes)
        return location

    async def is_hidden(self, path: str) -> bool:
        """Whether a path is hidden, by its name alone. What is ours is hidden always."""
        return keys.is_hidden(path)

    @verb
    async def dir_exists(self, path: str) -> bool:
        """Whether a directory is there."""
        try:
            location = self.namespace.resolve(path)
        except InvalidPathError:
            return False
        return self.namespace.is_fixed(location) or await location.tree.dir_exists(location.path)

    @verb
    async def file_exists(self, path: str) -> bool:
        """Whether a file is there.

        Before a save it may answer from what was served to the client a moment ago: the save's condition makes a mistake harmless.
        """
        try:
            location = self.namespace.resolve(path)
        except InvalidPathError:
            return False
        handler = bases.current_handler()
        saving = handler is not None and handler.request.method == "PUT"
        if saving and self._served.is_fresh(location.api):
            return True
        if saving and self.chunks.is_under_way(location.api, bases.uploader()):
            return self.chunks.there(location.api, bases.uploader()) is not None
        entry = await location.tree.lookup(location.path, "file") if location.path else None
        if entry is None:
            self._served.forget(location.api)
        if saving:
            self._served.saw(location.api, entry.info.version if entry is not None and entry.info is not None else None)
        return entry is not None

    @verb
    async def exists(self, path: str) -> bool:
        """Whether a file or directory is there."""
        try:
            location = self.namespace.resolve(path)
        except InvalidPathError:
            return False
        return self.namespace.is_fixed(location) or await location.tree.lookup(location.path) is not None

    async def resolve_path(self, path: str) -> str | None:
        """The API path that a path means, if something is there; else None."""
        try:
            location = self.resolve(path)
            there = self.namespace.is_fixed(location) or await location.tree.lookup(location.path) is not None
            return location.api if there else None
        except CloudContentsError:
            return None

    def get_kernel_path(self, path: str, model: Mapping[str, Any] | None = None) -> str:
        """Where a kernel starts: beside its notebook where the bucket is a local directory within `root_dir`; else in `root_dir`."""
        try:
            location = self.namespace.resolve(path)
            local = location.bucket.local_path(location.path or "/")
        except CloudContentsError:
            return ""
        root = os.path.realpath(self.root_dir)
        if local is None or not os.path.realpath(local).startswith(root.rstrip("/") + "/"):
            return ""
        return os.path.relpath(os.path.realpath(local), root).replace(os.sep, "/")

    # --- reading ------------------------------------------------------------------------------------------------------------

    @verb
    async def get(
        self, path: str, content: bool = True, type: str | None = None, format: str | None = None, require_hash: bool = False
    ) -> Model:
        """The model of a file, notebook or directory.

        Two requests at the most where `type` is not given, one where it is; a listing takes one for each 1,000 entries.

        Args:
            path: API path.
            content: Whether with its content.
            type: ``file``, ``notebook`` or ``directory``; what is there must be of that type.
            format: ``text`` or ``base64``, of a file.
            require_hash: Whether with its hash; it costs no request.
        """
        location = self.resolve(path)
        try:
            model = await self._get(location, bool(content), type, format, bool(require_hash))
        except NotFoundError:
            self._served.forget(location.api)
            raise NotFoundError(f"No such file or directory: {location.api}") from None
        self.emit(data={"action": "get", "path": location.api})
        return model

    async def _get(self, location: Location, content: bool, type: str | None, format: str | None, require_hash: bool) -> Model:
        path, tree, writable = location.path, location.tree, not location.mount.read_only
        found: Reader | Listing | ObjectInfo
        if self.namespace.is_fixed(location) and location.api:
            if type not in (None, "directory"):
                raise WrongTypeError(f"{location.api} is a directory, not a {type}")
            if not content:  # no request: what a listing says of it has none either
                return self._no_hash(models.directory_model(location.api, None, writable=writable), require_hash)
            found = await self._list_fixed(location)
        elif type == "directory":
            try:
                entry = None if content else await tree.lookup(path, "directory")
                if entry is not None:
                    return self._no_hash(models.directory_model(location.api, entry.modified, writable=writable), require_hash)
                found = await tree.list(path)
            except NotFoundError:
                if await tree.file_exists(path):
                    raise WrongTypeError(f"{location.api} is not a directory") from None
                raise
        elif type is not None:
            try:
                if not path:
                    raise NotFoundError("The root is a directory.")
                found = await tree.open(path) if content else await tree.bucket.head(path)
            except NotFoundError:
                if await tree.dir_exists(path):
                    raise WrongTypeError(f"{location.api} is a directory, not a {type}") from None
                raise
        elif content:
            found = await tree.open_any(path)
        else:
            entry = await tree.lookup(path)
            if entry is None:
                raise NotFoundError(f"{keys.show(path)} does not exist.")
            if entry.info is None:
                return self._no_hash(models.directory_model(location.api, entry.modified, writable=writable), require_hash)
            found = entry.info
        if isinstance(found, Listing):
            return self._no_hash(await self._listing(location, found), require_hash)
        info = found if isinstance(found, ObjectInfo) else found.info
        model = models.file_model(location.api, info, type, require_hash=require_hash, writable=writable)
        if isinstance(found, Reader):
            await self._read(found, model, format)
        self._served.note(location.api, info.version)
        return model

    async def _list_fixed(self, location: Location) -> Listing:
        """A mount, or a directory that leads to one; the latter need not be stored anywhere."""
        try:
            return await location.tree.list(location.path)
        except NotFoundError:
            if not self.namespace.below(location.api):
                raise
            return Listing(location.path, ())

    def _no_hash(self, model: Model, require_hash: bool) -> Model:
        if require_hash:
            raise WrongTypeError(f"{keys.show(model['path'])} is a directory and has no hash; ask for it without.")
        return model

    async def _listing(self, location: Location, listing: Listing) -> Model:
        """The model of a directory with its content: what is stored there, and the mounts."""
        below = [name for name in self.namespace.below(location.api) if self.should_list(name)]
        mounts = {path: self.namespace.resolve(path) for name in below for path in [keys.join(location.api, name)]}

        def build() -> Model:
            writable = not location.mount.read_only
            children = [
                models.entry_model(entry, location.mount.name, writable=writable)
                for entry in listing.entries
                if self.should_list(name := keys.split(entry.path)[1]) and (self.allow_hidden or not name.startswith("."))
            ]
            if mounts:
                children = [child for child in children if child["path"] not in mounts]
                children += [models.directory_model(path, None, writable=not at.mount.read_only) for path, at in mounts.items()]
            time = listing.modified if location.path or not location.api else None
            children.sort(key=lambda child: child["path"].encode())
            return models.listing_model(location.api, replace(listing, modified=time), children, writable=writable)

        if listing.unnameable:
            self.log.info(
                "%d objects in %s have names that no path can hold; they are not shown.", listing.unnameable, keys.show(location.api)
            )
        return await self._offload.run(build)

    async def _read(self, reader: Reader, model: Model, format: str | None) -> None:
        """Read content into a model."""
        path = model["path"]
        async with reader:
            if self.max_editor_size and reader.length > self.max_editor_size:
                raise TooLargeError(
                    f"{keys.show(path)} has {reader.length / 2**20:,.0f} MiB, more than the {self.max_editor_size / 2**20:,.0f} MiB that "
                    f"open in an editor. Download it (right click, Download, or /files/{path}), or read it in a kernel."
                )
            data = b"".join([piece async for piece in reader])
        if model["type"] == "notebook":
            problem: dict[str, Any] = {}
            model["content"], model["format"] = await self._trusted_notebook(path, data, problem), "json"
            self.validate_notebook_model(model, problem)
        else:
            model["content"], model["format"] = await self._offload.run(models.read_text, path, data, format)
            if model["mimetype"] is None:
                model["mimetype"] = "text/plain" if model["format"] == "text" else "application/octet-stream"

    async def _trusted_notebook(self, path: str, data: bytes, problem: dict[str, Any]) -> Any:
        """A notebook with its trusted cells marked."""
        if len(data) > _SMALL:
            node = await self._offload.run(models.read_notebook, path, data, problem)
            await self._trust.run(self._mark_trusted, node, path)
            return node
        nodes: list[Any] = []

        def work() -> None:
            nodes.append(models.read_notebook(path, data, problem))
            self._mark_trusted(nodes[-1], path)

        await self._trust.run(work)
        return nodes[-1]

    # --- trust ------------------------------------------------------------------------------------------------

    def check_and_sign(self, nb: Any, path: str = "", **kwargs: Any) -> None:
        """Sign a notebook whose cells are all trusted. Blocks its caller; what we do ourselves goes through a thread."""
        self._trust.block(lambda: self._check_and_sign(nb, path, **kwargs))

    def mark_trusted_cells(self, nb: Any, path: str = "") -> None:
        """Mark the cells of a notebook that was signed. Blocks its caller; what we do ourselves goes through a thread."""
        self._trust.block(self._mark_trusted, nb, path)

    def _check_and_sign(self, nb: Any, path: str, **kwargs: Any) -> None:
        super().check_and_sign(nb, path, **kwargs)

    def _mark_trusted(self, nb: Any, path: str) -> None:
        super().mark_trusted_cells(nb, path)
