"""What a receipt was measured on."""

from __future__ import annotations

import os
import platform

import numpy as np

from tape._kernels.table import get_num_threads, used

__all__ = ["machine", "processor"]


def machine() -> dict[str, str]:
    """Processor, instruction set of the kernels, threads, system and versions.

    >>> from tape.netopt.machine import machine
    >>> list(machine())
    ['processor', 'kernels', 'threads', 'system', 'python', 'numpy']
    """
    return {
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "kernels": used(),
        "threads": str(get_num_threads()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown processor"
