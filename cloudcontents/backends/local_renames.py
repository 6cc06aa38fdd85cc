"""Renaming within a file system to a name that is free, which the kernel's own call does not check."""

from __future__ import annotations

import contextlib
import errno
import os

from cloudcontents.errors import AlreadyExistsError
from cloudcontents.keys import show

from .local_files import look

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def rename_file(name: str, source: int, new: str, target: int) -> None:
    """Give a file a name that is free. Killed in between, both names are there, never none."""
    try:
        os.link(name, new, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if look(new, target) is not None:
            raise AlreadyExistsError(f"{show(new)} exists already; use another name.") from error
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)
        return
    os.fsync(target)
    os.unlink(name, dir_fd=source)


def rename_directory(name: str, source: int, new: str, target: int) -> None:
    """Give a directory, with all below it, a name that is free."""
    # Taking the name first: a rename would silently replace an empty directory of somebody else's.
    os.mkdir(new, dir_fd=target)
    try:
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)
    except OSError:
        with contextlib.suppress(OSError):
            os.rmdir(new, dir_fd=target)
        raise
