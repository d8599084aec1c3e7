"""Locks that a forked process finds open: those who held them do not exist there."""

from __future__ import annotations

import os
import weakref
from threading import RLock
from typing import Any

__all__ = ["give_lock"]

owners: weakref.WeakSet[Any] = weakref.WeakSet()


def give_lock(owner: Any) -> None:
    """Set `owner.lock`, in a forked process a new one: fork only copies the thread that calls it.

    What the lock guards must do, halfway changed, for those who did not see the change.
    """
    owner.lock = RLock()
    owners.add(owner)


def renew() -> None:
    """New locks for all."""
    for owner in owners:
        owner.lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=renew)
