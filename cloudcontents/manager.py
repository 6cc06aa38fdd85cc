"""`CloudContentsManager`: the verbs of Jupyter's Contents API on a bucket."""

from __future__ import annotations

import mimetypes
import secrets
from collections.abc import Mapping
from typing import Any, cast

from tornado.web import HTTPError

from . import bases, keys, models
from .accounts import BucketTree
from .answers import verb
from .backends.interface import IF_ABSENT, ObjectInfo
from .checkpoints import BucketCheckpoints
from .crossing import copy_across, move_across
from .errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidContentError,
    InvalidPathError,
    NotFoundError,
    TooLargeError,
    WrongTypeError,
)
from .models import Model
from .namespace import COMPANIONS, Location, holds_buckets
from .naming import copy_name, free_names
from .parallel import both
from .reads import ManagerReads
from .saves import Precondition
from .uploads.chunks import LAST, digest_of


class CloudContentsManager(ManagerReads):
    """A bucket as the home directory of Jupyter.

    Set ``c.ServerApp.contents_manager_class = "cloudcontents.CloudContentsManager"`` and `url`. For a store of your own, publish a backend
    by entry point, or subclass this and override `open_backend`.

    Every method raises `tornado.web.HTTPError` with a message for the user, and nothing else.
    """

    # --- saving -------------------------------------------------------------------------------------------------------------

    @verb
    async def new(self, model: Model | None = None, path: str = "") -> Model:
        """Create a file, notebook or directory; an empty one where the model has no content."""
        self.resolve(path, read=False)  # here already: the base strips every slash at the ends, and names are refused, never altered
        return cast(Model, await super().new(model, path))

    @verb
    async def update(self, model: Model, path: str) -> Model:
        """Rename to the model's path."""
        target = model.get("path", path)
        if not isinstance(target, str):
            raise InvalidContentError('"path" is the new path; send text.')
        self.resolve(path)  # both here already, as in `new`
        self.resolve(target, read=False)
        return cast(Model, await super().update(model, path))

    @verb
    async def save(self, model: Model, path: str = "") -> Model:
        """Save a file, notebook or directory; returns its model without content.

        A file is replaced only if it is still the one that this client last saw. Else the answer is 409, and the text is kept (G2).
        """
        location = self.resolve(path, read=False)
        if not isinstance(model, dict):
            raise InvalidContentError("The body of a save is a JSON object; nothing was saved.")
        if model.get("chunk") is not None:
            return await self._save_chunk(location, model)
        self.run_pre_save_hooks(model=model, path=location.api)
        kind = _type_of(model)
        if kind == "directory":
            return await self._save_directory(location)
        self._refuse_as_file(location)
        data, problem, node = await self._content_bytes(model, kind)
        condition = await self._saves.precondition(location, model)
        info, signed = await both(self._write(location, data, condition, kind, model), self._sign(node, location))
        if problem is not None:
            self.validate_notebook_model(model, problem)
        if kind == "notebook" and condition.base is None:
            await self._first_checkpoint(location.api)
        saved = await self.publish(location.api, info, message=model.get("message"))
        if not signed:
            raise HTTPError(500, f"{keys.show(location.api)} was saved, but could not be signed; the server's log says why. Save again.")
        return saved

    async def publish(self, path: str, info: ObjectInfo, *, message: str | None = None) -> Model:
        """End a write of a file, whichever door it came through: the client's base moves on, post-save hooks run, the event goes out.

        Returns:
            The file's model without content, as the hooks left it.
        """
        location = self.namespace.resolve(path)
        location.tree.wrote(location.path, "file")
        self._served.note(location.api, info.version)
        # As get() without a type would tell it, whatever type was sent.
        model = models.file_model(location.api, info)
        if message:
            model["message"] = message
        # The hook's argument is a local path where there is one, as other managers give it; else the API path.
        self.run_post_save_hooks(model=model, os_path=location.bucket.local_path(location.path) or location.api)
        self.emit(data={"action": "save", "path": location.api})
        return model

    async def _content_bytes(self, model: Model, kind: str) -> tuple[bytes, dict[str, Any] | None, Any]:
        """The bytes to store, and, of a notebook, what validation found, and the notebook to be signed."""
        if kind == "file":
            return await self._offload.run(models.file_bytes, model["content"], model.get("format")), None, None
        problem: dict[str, Any] = {}
        node, data = await self._offload.run(models.notebook_bytes, model["content"], problem)
        return data, problem, node

    async def _sign(self, node: Any, location: Location) -> bool:
        """Sign a notebook; False if that could not be done, which the caller tells when what goes on beside it has ended."""
        if node is None:
            return True
        try:
            await self._trust.run(self._check_and_sign, node, location.api)
        except Exception:
            self.log.exception("No signature of %s", keys.show(location.api))
            return False
        return True

    async def _write(self, location: Location, data: bytes, condition: Precondition, kind: str, model: Model) -> ObjectInfo:
        if condition.base is None:
            self.resolve_new(location.api)
        return await self._saves.write(
            location,
            data,
            condition,
            content_type=_content_type(location.path),
            type=kind,
            format=model.get("format") or "json",
        )

    def _refuse_as_file(self, location: Location) -> None:
        if not location.path or self.namespace.is_fixed(location):
            raise WrongTypeError(f"{keys.show(location.api)} is a directory; choose another name.")

    async def _save_directory(self, location: Location) -> Model:
        if self.namespace.is_fixed(location):
            return await self._get(location, False, "directory", None, False)
        entry = await location.tree.lookup(location.path)
        if entry is not None and entry.info is not None:
            raise WrongTypeError(f"Not a directory: {keys.show(location.path)}")
        if entry is None:
            self.resolve_new(location.api)
            try:
                entry = await location.tree.mkdir(location.path)
            except AlreadyExistsError:
                entry = await location.tree.lookup(location.path, "directory")  # somebody made it at that moment
        model = models.directory_model(location.api, entry.modified if entry is not None else None)
        self.run_post_save_hooks(model=model, os_path=location.bucket.local_path(f"{location.path}/") or location.api)
        self.emit(data={"action": "save", "path": location.api})
        return model

    async def _save_chunk(self, location: Location, model: Model) -> Model:
        """One chunk of JupyterLab's own upload; see `cloudcontents.uploads.chunks`."""
        self._refuse_as_file(location)
        number = model["chunk"]
        if not isinstance(number, int) or isinstance(number, bool) or (number < 1 and number != LAST):
            raise InvalidContentError(f"A chunk is numbered 1, 2, … and {LAST} for the last one, not {number!r}.")
        if number == 1:
            self.run_pre_save_hooks(model=model, path=location.api)
        _type_of(model, only="file")
        self.resolve_new(location.api)
        data, digest = await self._offload.run(_chunk_bytes, model["content"], model.get("format"))
        client, owner = bases.uploader(), bases.user_name()
        there = await location.bucket.find(location.path) if number == 1 else None
        await self.chunks.add(location.api, client, number, data, digest, there=there, owner=owner)
        there = self.chunks.there(location.api, client)
        if number != LAST:
            return self._pending_model(location, there)
        # What this client saw when it began, where it was not served the file before.
        self._served.saw(location.api, there.version if there is not None else None)
        condition = await self._saves.precondition(location, model)
        try:
            await self.chunks.finish(location.api, client, condition.when, owner=owner)
        except (ConflictError, AlreadyExistsError) as error:
            raise await self._saves.refused(location, condition) from error
        return await self._get(location, False, "file", None, False)

    def _pending_model(self, location: Location, there: ObjectInfo | None) -> Model:
        """What a chunk that is not the last one is answered with: the file as it still is, or one that is not there yet."""
        if there is not None:
            return models.file_model(location.api, there, "file")
        return models.directory_model(location.api, None) | {"type": "file", "mimetype": mimetypes.guess_type(location.path)[0]}

    # --- new files ----------------------------------------------------------------------------------------------------------

    @verb
    async def new_untitled(self, path: str = "", type: str = "", ext: str = "") -> Model:
        """Make a new file, notebook or directory under the first free name. The name is taken by a conditional create."""
        location = self.resolve(path, read=False)
        if not await self.dir_exists(location.api):
            raise NotFoundError(f"No such directory: {location.api}")
        kind = type or ("notebook" if ext == ".ipynb" else "file")
        stems = {"directory": self.untitled_directory, "notebook": self.untitled_notebook, "file": self.untitled_file}
        if kind not in stems:
            raise InvalidContentError(f"Unexpected model type: {kind!r}")
        name = stems[kind] + (".ipynb" if kind == "notebook" else ext)
        if holds_buckets(location.mount) and not location.path:
            if kind != "directory":
                raise WrongTypeError("Files live in buckets, and here are only buckets; open one first.")
            # Buckets' names are everybody's, and have no capitals.
            name = f"untitled-{secrets.token_hex(4)}"
        insert = " " if kind == "directory" else ""
        async for candidate in free_names(location, name, insert, fixed=self.namespace.below(location.api)):
            target = self.resolve_new(candidate)
            try:
                if kind == "directory":
                    await target.tree.mkdir(target.path)
                    return await self._save_directory(target)
                content, format = models.empty_content(kind)
                model = {"type": kind, "content": content, "format": format}
                self.run_pre_save_hooks(model=model, path=target.api)
                data, _, node = await self._content_bytes(model, kind)
                await self._sign(node, target)  # it has no outputs to be trusted
                info = await target.bucket.put(
                    target.path,
                    data,
                    when=IF_ABSENT,
                    content_type=_content_type(target.path),
                    metadata=await self._saves.metadata(target, data),
                )
            except AlreadyExistsError:
                continue
            if kind == "notebook":
                await self._first_checkpoint(target.api)
            return await self.publish(target.api, info)
        raise AlreadyExistsError(f"No free name was found for {keys.show(name)}; others are creating files there. Try again.")

    async def increment_filename(self, filename: str, path: str = "", insert: str = "") -> str:
        """The first name that is free in a directory; one listing, however many are taken."""
        location = self.resolve(path, read=False)
        async for candidate in free_names(location, filename, insert, fixed=self.namespace.below(location.api)):
            return keys.split(candidate)[1]
        raise AlreadyExistsError(f"No free name was found for {keys.show(filename)}.")

    async def _first_checkpoint(self, path: str) -> None:
        """A new notebook has a checkpoint to go back to. That it could not be made is no reason to say that the save failed."""
        try:
            await self.checkpoints.create_checkpoint(self, path)
        except HTTPError as error:
            self.log.warning("No checkpoint of %s: %s", keys.show(path), error.log_message)

    # --- copying, renaming, deleting ----------------------------------------------------------------------------------------

    @verb
    async def copy(self, from_path: str, to_path: str | None = None) -> Model:
        """Copy a file or directory within the store; no byte passes through the server.

        Into a directory, under its own name with ``-Copy1`` and so on; else to the path given: a file that is there goes to the trash.
        """
        source = self.resolve(from_path)
        entry = await source.tree.lookup(source.path)
        self._refuse_fixed(source, "copied")
        if entry is None:
            raise NotFoundError(f"No such file or directory: {source.api}")
        parent, name = keys.split(source.api)
        target = self.resolve(parent if to_path is None else to_path, read=False)
        if not await self.dir_exists(target.api):
            if entry.info is None:  # a directory goes *into* what is named, which is made for it, as other managers do
                target = self.resolve_new(keys.join(target.api, name))
                await target.tree.make_parents(target.path)
            elif to_path is None or not await self.dir_exists(keys.split(target.api)[0]):
                raise NotFoundError(f"No such parent directory: {keys.split(target.api)[0]} to copy file in")
            model = await self._copy_to(source, entry.info, self.resolve_new(target.api), replace=True)
        else:
            model = await self._copy_into(source, entry.info, target, copy_name(name, directory=entry.info is None))
        self.emit(data={"action": "copy", "path": model["path"], "source_path": source.api})
        return model

    async def _copy_into(self, source: Location, info: ObjectInfo | None, directory: Location, name: str) -> Model:
        async for candidate in free_names(directory, name, "-Copy", fixed=self.namespace.below(directory.api)):
            try:
                return await self._copy_to(source, info, self.resolve_new(candidate))
            except AlreadyExistsError:
                continue
        raise AlreadyExistsError(f"No free name was found for a copy of {keys.show(source.api)}; try again.")

    async def _copy_to(self, source: Location, info: ObjectInfo | None, target: Location, *, replace: bool = False) -> Model:
        if info is None:
            limit = self.max_copy_folder_size_mb * 2**20 or None
            try:
                if source.mount is target.mount:
                    await source.tree.copy_dir(source.path, target.path, limit_bytes=limit)
                else:
                    await copy_across(source, None, target, limit_bytes=limit)
            except TooLargeError as error:
                raise InvalidContentError(error.message) from error
            entry = await target.tree.lookup(target.path, "directory")
            return models.directory_model(target.api, entry.modified if entry is not None else None)
        if replace and await target.tree.file_exists(target.path):
            await self._delete(target.api)  # to the trash, with its checkpoints
        if source.mount is target.mount:
            copy = await source.tree.copy_file(source.path, target.path)
        else:
            copy = await copy_across(source, info, target) or info
        self._served.note(target.api, copy.version)
        return models.file_model(target.api, copy)

    @verb
    async def rename(self, old_path: str, new_path: str) -> None:
        """Rename or move a file or directory, and its checkpoints, to a name that is free."""
        source, target = self.resolve(old_path, read=False), self.resolve_new(new_path)
        if source.api != target.api:
            await self._rename(source, target)
            self.emit(data={"action": "rename", "path": target.api, "source_path": source.api})

    @verb
    async def rename_file(self, old_path: str, new_path: str) -> None:
        """Rename or move a file or directory, and its checkpoints, to a name that is free; without an event."""
        await self._rename(self.resolve(old_path, read=False), self.resolve_new(new_path))

    async def _rename(self, source: Location, target: Location) -> None:
        if _is_bucket(source) and _is_bucket(target) and source.mount.account is target.mount.account:
            await cast(BucketTree, source.tree).rename_bucket(cast(BucketTree, target.tree))
            return
        self._refuse_fixed(source, "renamed")
        self._refuse_fixed(target, "replaced")
        along = COMPANIONS if self._checkpoints_go_along else ()
        if source.mount is target.mount:
            await source.tree.rename(source.path, target.path, companions=along)
        else:
            await move_across(source, target, companions=along)
        if not along:
            await self.checkpoints.rename_all_checkpoints(source.api, target.api)
        self._served.forget_tree(source.api)

    @verb
    async def delete(self, path: str) -> None:
        """Delete a file or directory with its checkpoints: to the trash, or for good where `delete_to_trash` is off."""
        location = await self._delete(path)
        self.emit(data={"action": "delete", "path": location.api})

    @verb
    async def delete_file(self, path: str) -> None:
        """Delete a file or directory with its checkpoints; without an event."""
        await self._delete(path)

    async def _delete(self, path: str) -> Location:
        location = self.resolve(path, read=False)
        if not location.api:
            raise InvalidPathError("Can't delete root")
        if _is_bucket(location):
            await location.tree.remove_dir("")  # only if nothing is in it, and so with nothing for the trash
            return location
        self._refuse_fixed(location, "deleted")
        if self.delete_to_trash:
            await location.mount.trash.put(location.path, by=bases.user_name())
            if not self._checkpoints_go_along:
                await self._drop_checkpoints(location.api)
        else:
            entry = await location.tree.lookup(location.path)
            if entry is None:
                raise NotFoundError(f"File or directory does not exist: {location.api}")
            along = COMPANIONS if self._checkpoints_go_along else ()
            if entry.info is not None:
                await location.tree.remove_file(location.path, companions=along)
            else:
                if not self.always_delete_dir:
                    await location.tree.check_empty(location.path)
                await location.tree.remove_dir(location.path, companions=along)
            if not along:
                await self._drop_checkpoints(location.api)
        self._served.forget_tree(location.api)
        return location

    def _refuse_fixed(self, location: Location, what: str) -> None:
        if _is_bucket(location):
            raise InvalidPathError(f"{keys.show(location.api)} is a bucket and cannot be {what}; choose something in it.")
        if self.namespace.is_fixed(location):
            raise InvalidPathError(f"{keys.show(location.api)} is a mount, or holds one, and cannot be {what}; choose another path.")

    @property
    def _checkpoints_go_along(self) -> bool:
        return isinstance(self.checkpoints, BucketCheckpoints) and self.checkpoints.shares_bucket

    async def _drop_checkpoints(self, path: str) -> None:
        await self.checkpoints.delete_all_checkpoints(path)

    # --- checkpoints and trust ----------------------------------------------------------------------------------------------

    @verb
    async def list_checkpoints(self, path: str) -> Any:
        """The checkpoints of a file, oldest first.

        ``GET …/d/checkpoints`` is asked of a *directory* `d` too, when somebody opens a folder of that name in it: the server's routes
        cannot tell the two. Then the folder is answered.
        """
        location = self.resolve(path)
        found = await self.checkpoints.list_checkpoints(location.api)
        if not found and location.tree.was(location.path) != "file":
            folder = keys.join(location.api, "checkpoints")
            if await self.dir_exists(folder):
                return await self.get(folder, type="directory")
        return found

    @verb
    async def create_checkpoint(self, path: str) -> Any:
        """Keep a file as it is now."""
        return await self.checkpoints.create_checkpoint(self, self.resolve(path).api)

    @verb
    async def restore_checkpoint(self, checkpoint_id: str, path: str) -> None:
        """Make a file what it was at a checkpoint; what it is now is kept."""
        await self.checkpoints.restore_checkpoint(self, checkpoint_id, self.resolve(path, read=False).api)

    @verb
    async def delete_checkpoint(self, checkpoint_id: str, path: str) -> None:
        """Delete one checkpoint."""
        await self.checkpoints.delete_checkpoint(checkpoint_id, self.resolve(path).api)

    @verb
    async def trust_notebook(self, path: str) -> None:
        """Trust a notebook's outputs."""
        location = self.resolve(path)
        model = await self._get(location, True, "notebook", None, False)
        self.log.warning("Trusting notebook %s", keys.show(location.api))

        def trust() -> None:
            self.notary.mark_cells(model["content"], True)
            self._check_and_sign(model["content"], location.api)

        await self._trust.run(trust)


def _type_of(model: Mapping[str, Any], *, only: str | None = None) -> str:
    """The type that a model is to be saved as.

    Raises:
        InvalidContentError: It has none, or none of the three, or lacks its content.
    """
    if "type" not in model:
        raise InvalidContentError("No file type provided")
    kind = model["type"]
    if kind not in ("file", "notebook", "directory"):
        raise InvalidContentError(f"Unhandled contents type: {kind}")
    if only is not None and kind != only:
        raise InvalidContentError(f'File type "{kind}" is not supported for large file transfer')
    if "content" not in model and kind != "directory":
        raise InvalidContentError("No file content provided")
    return cast(str, kind)


def _is_bucket(location: Location) -> bool:
    """Whether a path is itself one of an account's buckets."""
    return not location.path and location.mount.account is not None


def _chunk_bytes(content: Any, format: Any) -> tuple[bytes, bytes]:
    data = models.file_bytes(content, format)
    return data, digest_of(data)


def _content_type(path: str) -> str | None:
    return "application/x-ipynb+json" if path.endswith(".ipynb") else mimetypes.guess_type(path)[0]
