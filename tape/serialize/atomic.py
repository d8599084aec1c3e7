"""Files that are replaced as a whole: who opens one finds what was there before, or all of the new.

Note [Replace at once]
The new content goes into a file without a name (or with one of its own, where the system knows no
files without), reaches the disk, and only then takes the place of the old one in a single step of
the file system. Whoever is killed at any moment has changed nothing, or everything.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

__all__ = ["replace"]

# What a file system says that knows no syncing of folders; and Windows, which opens none.
NO_SYNC = {errno.EACCES, errno.EPERM, errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EOPNOTSUPP}
OWN_FILES = "/proc/self/fd"  # gives a file without a name one


def replace(path: str, write: Callable[[BinaryIO], None]) -> None:
    """Replace the file at `path` by what `write` writes, or leave all as it was.

    A link stays, what it points to is replaced; an old file's permissions stay.

    Raises:
        OSError: it cannot be written: a full disk, a folder that is not there or not writable, or
            something else than a file at `path`.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name[:40]}.{os.urandom(8).hex()}.tmp")
    try:
        mode = mode_of(target)
        try:
            with opened(folder, temporary) as file:
                if mode is not None:
                    os.chmod(file.fileno() if os.chmod in os.supports_fd else temporary, mode)
                write(file)
                file.flush()
                os.fsync(file.fileno())
                if not isinstance(file.name, str):
                    christen(file.fileno(), temporary)
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        words = f"save: {path} was not written, and is as it was: {error.strerror or error}"
        raise OSError(error.errno or errno.EIO, words) from error
    sync(folder)


def mode_of(target: str) -> int | None:
    """The permissions of a file, None if there is none.

    Raises:
        OSError: it is no file: a folder, or a device, which a file must not replace.
    """
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    return stat.S_IMODE(mode)


def opened(folder: str, temporary: str) -> BinaryIO:
    """A new file in the folder, without a name if that is possible: then killing leaves nothing."""
    if hasattr(os, "O_TMPFILE") and os.path.isdir(OWN_FILES):
        with suppress(OSError):
            return open(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666), "wb")
    return open(temporary, "xb")


def christen(number: int, path: str) -> None:
    """Give an open file without a name one."""
    # The folder of an absolute path is ignored, but with one Python asks for links to be followed.
    os.link(f"{OWN_FILES}/{number}", path, src_dir_fd=number, follow_symlinks=True)


def sync(folder: str) -> None:
    """Wait until the folder's names have reached the disk."""
    try:
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
