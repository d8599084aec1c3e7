"""How many threads everybody may use, and what stands above the table.

Nothing here may import NumPy or a peer before `limit_threads` has run.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable

# BLAS, OpenMP and XLA read these once, when they are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TAPE_NUM_THREADS",
)


TOLD = ("OPENBLAS_", "MKL_", "ONEDNN_", "TAPE_")


def limit_threads(threads: int) -> None:
    """Let every library in this process and its children use `threads` threads."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)
    os.environ["JAX_PLATFORMS"] = "cpu"
    if threads == 1:
        os.environ["XLA_FLAGS"] = (
            "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        )
    if hasattr(os, "sched_setaffinity"):  # XLA sizes its pool by the cores it may run on
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[-threads:])
    try:
        import torch
    except ModuleNotFoundError:
        return
    torch.set_num_threads(threads)


def clock(threads: int) -> tuple[Callable[[], float], str]:
    """The clock for that many threads, and its name.

    One thread is timed by the processor time it used, which leaves out what other programs did
    meanwhile; with more threads that would add up their times, so the clock on the wall is taken.
    """
    if threads == 1:
        return time.process_time, "processor time"
    return time.perf_counter, "wall"


def describe(threads: int) -> dict[str, str]:
    """What was measured on: processor, system, versions, threads, how busy the machine is."""
    from tape.netopt.machine import processor

    packages = {"tape": "tape-autodiff", "NumPy": "numpy", "PyTorch": "torch", "JAX": "jax"}
    about = {
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{title: version(package) for title, package in packages.items()},
        "threads": str(threads),
    }
    # What the libraries are told to do differently from what they would do by themselves.
    about |= {
        k: v for k, v in sorted(os.environ.items()) if k.startswith(TOLD) and "THREADS" not in k
    }
    if hasattr(os, "getloadavg"):
        about["load at start"] = f"{os.getloadavg()[0]:.1f}"
    return about


def version(package: str) -> str:
    """A package's version, `-` if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "-"
