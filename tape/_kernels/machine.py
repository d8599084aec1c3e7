"""What the operating system lets this process use."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """How many threads to use: OMP_NUM_THREADS, else cores by affinity and by quota."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, int(quota(CGROUP))))


def quota(folder: Path) -> float:
    """Cores' worth of time that a container may use; infinite if nothing says so."""
    try:
        limit, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (folder / "cpu/cpu.cfs_quota_us").read_text()
            period = (folder / "cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return 256.0
    try:
        share = float(limit) / float(period)
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return 256.0
    return share if share > 0 else 256.0
