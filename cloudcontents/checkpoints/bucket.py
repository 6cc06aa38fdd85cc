"""`BucketCheckpoints`: the checkpoints of notebooks and files, in the manager's own bucket or in another one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from jupyter_server.services.contents.checkpoints import AsyncCheckpoints, AsyncGenericCheckpointsMixin
from traitlets import Int, Unicode

from .. import keys
from ..answers import verb
from ..backends.interface import IF_ABSENT, IfVersion, Reader
from ..bucket import Bucket
from ..errors import (
    AlreadyExistsError,
    CloudContentsError,
    ConfigurationError,
    ConflictError,
    InvalidPathError,
    NotFoundError,
    PermissionDeniedError,
    WrongTypeError,
)
from ..namespace import Location, Namespace
from ..registry import open_backend
from ..transfer import transfer
from ..tree import Tree
from . import content
from .names import Checkpoint, made_by_us, new_checkpoint, parse_leaf, with_name
from .retention import Retention, order

KIND = "checkpoints"

#: Files whose number of checkpoints is remembered, so that not every new one costs a listing.
_REMEMBERED = 10_000

#: Checkpoints of the same size that a restore asks the store about before it keeps what it replaces.
_COMPARED = 4


@dataclass(frozen=True, slots=True)
class _Home:
    """Where the checkpoints of one path live."""

    tree: Tree
    path: str

    @property
    def bucket(self) -> Bucket:
        return self.tree.bucket

    @property
    def prefix(self) -> str:
        return keys.companion_prefix(KIND, self.path)

    def key(self, checkpoint: Checkpoint) -> str:
        return self.prefix + checkpoint.leaf


class BucketCheckpoints(AsyncGenericCheckpointsMixin, AsyncCheckpoints):
    """Many checkpoints per file, kept in a bucket.

    Under a `CloudContentsManager` they live below ``.cloudcontents/`` of the file's own bucket: a checkpoint is one server-side copy, a
    restore another one, and no byte passes through the server. With `url` they live in a bucket of their own, and under any other
    asynchronous contents manager, too.

    Every method raises `tornado.web.HTTPError` with a message for the user.
    """

    url = Unicode(
        "",
        config=True,
        help="""Bucket for the checkpoints, e.g. file:///srv/checkpoints. Empty: the bucket of the file itself, where a checkpoint is one
        server-side copy. Another bucket survives the loss of the first one, at the price of sending each checkpoint through the server.
        Needed under any contents manager but CloudContentsManager.""",
    )
    keep_last = Int(
        20, min=1, config=True, help="Keep the newest so many checkpoints of each file. More is safer, each costs the file's size."
    )
    keep_daily = Int(
        7, min=0, config=True, help="Beyond keep_last, keep the newest checkpoint of each day (UTC), for so many days that have any."
    )
    keep_days = Int(0, min=0, config=True, help="Beyond both, keep every checkpoint made within so many days.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._own: Tree | None = None
        # By prefix: how many more checkpoints may be made before the old ones are looked through.
        self._spare: OrderedDict[tuple[int, str], int] = OrderedDict()

    @property
    def shares_bucket(self) -> bool:
        """Whether checkpoints live beside their files, so that `Tree.rename(companions=…)` takes them along."""
        return not self.url

    @property
    def retention(self) -> Retention:
        """The policy that the traits say."""
        return Retention(self.keep_last, self.keep_daily, self.keep_days)

    # --- the Contents API -----------------------------------------------------------------------------------------------

    @verb
    async def create_checkpoint(self, contents_mgr: Any, path: str) -> dict[str, Any]:
        """Keep the file as it is now, then let go of what retention no longer keeps.

        One request where the checkpoints share the file's bucket; now and then one more to look the old ones through. A repeat makes
        another checkpoint.
        """
        home = self._home(path, write=True)
        file = self._file(contents_mgr, path)
        if file is None:
            model: dict[str, Any] = await super().create_checkpoint(contents_mgr, path)  # type: ignore[no-untyped-call]
            return model
        made = new_checkpoint()
        if file.bucket is home.bucket:
            await home.bucket.copy(file.path, home.key(made))
        else:
            await transfer(file.bucket, await file.bucket.head(file.path), home.bucket, home.key(made))
        await self._prune_if_due(home)
        return made.model

    @verb
    async def restore_checkpoint(self, contents_mgr: Any, checkpoint_id: str, path: str) -> None:
        """Make the file what it was at a checkpoint.

        What it is now is kept first, as a checkpoint of its own, unless one holds the same already. A save that comes in between wins:
        the restore is then a 409 and changes nothing.
        """
        home = self._home(path, write=True)
        every = await self._all(home)
        wanted = self._pick(every, checkpoint_id, path)
        file = self._file(contents_mgr, path)
        if file is None:
            await self._keep_content(contents_mgr, path, home, every)
            await super().restore_checkpoint(contents_mgr, checkpoint_id, path)  # type: ignore[no-untyped-call]
            await self._prune_if_due(home)
            return
        present = await file.bucket.find(file.path)
        if present is None and await file.tree.dir_exists(file.path):
            raise WrongTypeError(f"{keys.show(path)} is a directory; it has no checkpoints to restore.")
        source = await home.bucket.head(home.key(wanted))
        try:
            if present is not None and not await self._holds(home, every, present.size, present.checksum):
                await transfer(file.bucket, present, home.bucket, home.key(new_checkpoint(undo=True)))
            when = IF_ABSENT if present is None else IfVersion(present.version)
            restored = await transfer(home.bucket, source, file.bucket, file.path, when)
        except (ConflictError, AlreadyExistsError) as error:
            raise ConflictError(
                f"{keys.show(path)} was saved while its checkpoint was being restored; it was left as it is. "
                "Look at it, then restore again."
            ) from error
        await self._prune_if_due(home)
        # Of ours, the manager ends every write: the client's base moves on, hooks run, the event goes out.
        publish = getattr(contents_mgr, "publish", None)
        if publish is None:
            file.tree.wrote(file.path, "file")
        else:
            await publish(file.api, restored)

    @verb
    async def list_checkpoints(self, path: str) -> list[dict[str, Any]]:
        """The checkpoints of a file, oldest first; empty for what has none. One request.

        What a restore replaced is listed beside other checkpoints, as ``…-undo``, but does not count as one: where nothing else is
        left the list is empty, and JupyterLab makes a new one when it opens the file.
        """
        home = self._home(path)
        every = await self._all(home)
        if len(every) <= self.keep_last:
            self._note_spare(home, len(every))  # JupyterLab asks before it makes one, which then need not look again
        return [] if all(checkpoint.undo for checkpoint in every) else [checkpoint.model for checkpoint in every]

    @verb
    async def delete_checkpoint(self, checkpoint_id: str, path: str) -> None:
        """Delete one checkpoint; 404 where there is none of that id."""
        home = self._home(path, write=True)
        await home.bucket.delete(home.key(await self._find(home, checkpoint_id, path)))

    @verb
    async def rename_checkpoint(self, checkpoint_id: str, old_path: str, new_path: str) -> None:
        """Move one checkpoint from a file to another one; it keeps its id and time.

        After a crash it may stand at both; a repeat then finishes.
        """
        old, new = self._home(old_path, write=True), self._home(new_path, write=True)
        checkpoint = await self._find(old, checkpoint_id, old_path)
        await self._move(old, checkpoint, new, checkpoint)

    # --- beyond the Contents API ------------------------------------------------------------------------------------------

    @verb
    async def name_checkpoint(self, checkpoint_id: str, name: str, path: str) -> dict[str, Any]:
        """Give a checkpoint a name of one's own (letters, digits, ``_``, ``-``; at most 48): its id from then on.

        Retention never takes a named checkpoint away. 404 where there is none of that id, 409 where the name is taken.
        """
        home = self._home(path, write=True)
        every = await self._all(home)
        checkpoint = self._pick(every, checkpoint_id, path)
        named = with_name(checkpoint, name)
        if any(other.id == name for other in every):
            raise AlreadyExistsError(f"{keys.show(path)} has a checkpoint {keys.show(name)} already; use another name.")
        await self._move(home, checkpoint, home, named)
        return named.model

    @verb
    async def open_checkpoint(self, checkpoint_id: str, path: str) -> Reader:
        """Open what a checkpoint holds, for reading; 404 where there is none of that id. Close the reader."""
        home = self._home(path)
        return await home.bucket.get(home.key(await self._find(home, checkpoint_id, path)))

    @verb
    async def rename_all_checkpoints(self, old_path: str, new_path: str) -> None:
        """Move the checkpoints of a file, or of a directory and everything below it; the target's own old ones go.

        Safe to repeat. Within one bucket it is journaled: after a crash the next start finishes it.
        """
        old, new = self._home(old_path, write=True, hidden=True), self._home(new_path, write=True, hidden=True)
        source, target = keys.companion_tree(KIND, old.path), keys.companion_tree(KIND, new.path)
        if not old.path or not new.path or (old.bucket is new.bucket and old.path == new.path):
            return
        self._spare.clear()
        if await old.bucket.is_empty(source):
            await new.tree.delete_prefix(target)
        elif old.bucket is new.bucket:
            await new.tree.delete_prefix(target)
            await old.tree.move_prefix(source, target)
        else:
            await new.tree.delete_prefix(target)
            async for info in old.bucket.objects(source):
                await transfer(old.bucket, info, new.bucket, target + info.key.removeprefix(source))
            await old.tree.delete_prefix(source)

    @verb
    async def delete_all_checkpoints(self, path: str) -> None:
        """Delete the checkpoints of a file, or of a directory and everything below it. Safe to repeat."""
        home = self._home(path, write=True, hidden=True)
        if not home.path:
            raise InvalidPathError("The checkpoints of the root cannot be deleted at once; name a file or directory.")
        self._spare.clear()
        await home.tree.delete_prefix(keys.companion_tree(KIND, home.path))

    async def recover(self) -> Sequence[str]:
        """Finish what a crash left of moves in a bucket of our own; one line for each. The manager's own bucket is its own affair."""
        return await self._own_tree().recover() if self.url else []

    async def close(self) -> None:
        """Free the clients of a bucket of our own. Safe to repeat; a later call opens them again."""
        if self._own is not None:
            await self._own.bucket.close()

    # --- the generic path: any other contents manager ------------------------------------------------------------------------

    @verb
    async def create_file_checkpoint(self, content_: str, format: str | None, path: str) -> dict[str, Any]:
        """Keep a file's content, text or base64."""
        return await self._put(await content.encode_file(content_, format), path)

    @verb
    async def create_notebook_checkpoint(self, nb: Any, path: str) -> dict[str, Any]:
        """Keep a notebook."""
        return await self._put(await content.encode_notebook(nb), path)

    @verb
    async def get_file_checkpoint(self, checkpoint_id: str, path: str) -> dict[str, Any]:
        """A checkpoint as a file model: text, or base64 where it is not UTF-8."""
        return await content.decode_file(await self._read(checkpoint_id, path))

    @verb
    async def get_notebook_checkpoint(self, checkpoint_id: str, path: str) -> dict[str, Any]:
        """A checkpoint as a notebook model."""
        return await content.decode_notebook(await self._read(checkpoint_id, path), path)

    async def _put(self, data: bytes, path: str) -> dict[str, Any]:
        home = self._home(path, write=True)
        made = new_checkpoint()
        await home.bucket.put(home.key(made), data)
        await self._prune_if_due(home)
        return made.model

    async def _read(self, checkpoint_id: str, path: str) -> bytes:
        home = self._home(path)
        _, data = await home.bucket.read(home.key(await self._find(home, checkpoint_id, path)))
        return data

    async def _keep_content(self, contents_mgr: Any, path: str, home: _Home, every: Sequence[Checkpoint]) -> None:
        """Keep what another manager's file is now, unless a checkpoint holds the same."""
        data, checksum = await content.encode_model(await contents_mgr.get(path, content=True))
        if not await self._holds(home, every, len(data), checksum):
            await home.bucket.put(home.key(new_checkpoint(undo=True)), data)

    # --- helpers -------------------------------------------------------------------------------------------------------

    def _home(self, path: str, *, write: bool = False, hidden: bool = False) -> _Home:
        """Where a path's checkpoints live, after every check on the path."""
        name = keys.clean(path)
        if not hidden and keys.is_hidden(name) and not getattr(self.parent, "allow_hidden", False):
            raise NotFoundError(f"{keys.show(path)} does not exist.")
        location = self._file(self.parent, name)
        if self.url:
            home = _Home(self._own_tree(), name)
        elif location is not None:
            home = _Home(location.tree, location.path)
        else:
            raise ConfigurationError(
                "Checkpoints need a bucket under this contents manager; set c.BucketCheckpoints.url, for example 'file:///srv/checkpoints'."
            )
        if write and len(home.prefix.encode()) + 96 > home.bucket.capabilities.max_key_bytes:
            # 403 is the one answer to which JupyterLab opens the file all the same.
            raise PermissionDeniedError(f"{keys.show(path)} is too long a name to have checkpoints; rename it.")
        return home

    def _file(self, contents_mgr: Any, path: str) -> Location | None:
        """Where a path is in a bucket, or None under a manager that has none."""
        namespace = getattr(contents_mgr, "namespace", None)
        return namespace.resolve(path) if isinstance(namespace, Namespace) else None

    def _own_tree(self) -> Tree:
        if self._own is None:
            self._own = Tree(Bucket(open_backend(self.url)))
        return self._own

    async def _all(self, home: _Home) -> list[Checkpoint]:
        found = [parse_leaf(info.key.removeprefix(home.prefix), info.size) async for info in home.bucket.objects(home.prefix)]
        return sorted((checkpoint for checkpoint in found if checkpoint is not None), key=order)

    async def _find(self, home: _Home, checkpoint_id: str, path: str) -> Checkpoint:
        """The checkpoint of an id: a HEAD for an id of ours, a listing for a name."""
        made = parse_leaf(checkpoint_id) if made_by_us(checkpoint_id) else None
        if made is None:
            return self._pick(await self._all(home), checkpoint_id, path)
        if await home.bucket.find(home.key(made)) is None:
            raise _unknown(checkpoint_id, path)
        return made

    def _pick(self, every: Sequence[Checkpoint], checkpoint_id: str, path: str) -> Checkpoint:
        for checkpoint in every:
            if checkpoint.id == checkpoint_id:
                return checkpoint
        raise _unknown(checkpoint_id, path)

    async def _holds(self, home: _Home, every: Sequence[Checkpoint], size: int | None, checksum: str | None) -> bool:
        """Whether one of the newest checkpoints surely has a content, by what the store says of it; content is never read."""
        alike = [checkpoint for checkpoint in reversed(every) if checksum is not None and checkpoint.size == size]
        for checkpoint in alike[:_COMPARED]:
            kept = await home.bucket.find(home.key(checkpoint))
            if kept is not None and kept.checksum == checksum:
                return True
        return False

    async def _move(self, old: _Home, checkpoint: Checkpoint, new: _Home, target: Checkpoint) -> None:
        if old.bucket is new.bucket and old.key(checkpoint) == new.key(target):
            return
        info = await old.bucket.head(old.key(checkpoint))
        await transfer(old.bucket, info, new.bucket, new.key(target), IF_ABSENT)
        await old.bucket.delete(old.key(checkpoint))

    async def _prune_if_due(self, home: _Home) -> None:
        """Let go of what retention no longer keeps, looking only when there can be something.

        Between two looks up to a quarter of `keep_last` may pile up beyond the policy, so that most checkpoints cost one request.
        """
        slot = (id(home.tree), home.prefix)
        spare = self._spare.get(slot, 0)
        if spare > 1:
            self._spare[slot] = spare - 1
            return
        try:
            every = await self._all(home)
            now = datetime.now(timezone.utc)
            # What restores replaced is counted by itself: it must not push out what the user kept.
            gone = [
                checkpoint
                for undo in (False, True)
                for checkpoint in self.retention.surplus([one for one in every if one.undo is undo], now)
            ]
            failed = await home.bucket.delete_many([(home.key(checkpoint), None) for checkpoint in gone]) if gone else ()
            if failed:
                raise failed[0][1]
        except CloudContentsError as error:
            # The checkpoint is made; that an old one is still there is no reason to say otherwise.
            self.log.warning("Old checkpoints of %s were not pruned: %s", keys.show(home.path), error)
            return
        self._note_spare(home, len(every) - len(gone))

    def _note_spare(self, home: _Home, kept: int) -> None:
        slot = (id(home.tree), home.prefix)
        self._spare[slot] = max(self.keep_last - kept, 0) + max(self.keep_last // 4, 1)
        self._spare.move_to_end(slot)
        if len(self._spare) > _REMEMBERED:
            self._spare.popitem(last=False)


def _unknown(checkpoint_id: str, path: str) -> NotFoundError:
    return NotFoundError(f"{keys.show(path)} has no checkpoint {keys.show(checkpoint_id)}; list its checkpoints again.")
