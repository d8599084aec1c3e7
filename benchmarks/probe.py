"""What the memory rows run, each in a fresh process: `python -m benchmarks.probe chain 1000000`.

Prints one JSON object. Sizes are resident set sizes in bytes, taken after the C library was asked
to give freed pages back to the system: what is kept then is what somebody still holds.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import sys
import time

import numpy as np


def resident() -> int:
    """Bytes of this process that are in memory now, freed pages given back."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # glibc has this, others need not
        ctypes.CDLL(None).malloc_trim(0)
    try:
        with open("/proc/self/statm", encoding="ascii") as numbers:
            return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # only the peak is known here
        return peak()


def peak() -> int:
    """Bytes of this process that were in memory at its largest."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def chain(length: int) -> dict[str, float]:
    """Record `length` ops of x = x * b + a, differentiate, drop; the cycle collector is off."""
    import tape

    gc.disable()
    a, b = (tape.tensor(np.full(8, v, np.float32), requires_grad=True) for v in (0.1, 0.5))
    ones = tape.tensor(np.ones(8, np.float32))

    def once(ops: int) -> float:
        start = time.process_time()
        x = a
        for _ in range(ops // 2):
            x = x * b + a
        grads = tape.grad(x, [a, b], ones)
        del x, grads
        return time.process_time() - start

    once(1000)
    before, nodes = resident(), tape.live_nodes()
    seconds = once(length)
    return {
        "seconds": seconds,
        "peak_growth": peak() - before,
        "kept": resident() - before,
        "kept_nodes": tape.live_nodes() - nodes,
    }


def loop(steps: int) -> dict[str, float]:
    """Train a small network for `steps` steps after a tenth as many to warm up; collector off."""
    import tape

    from .networks import tape_step

    gc.disable()
    step = tape_step((2, 16, 16, 2), 32, "tanh", "sgd").names["step"]
    for _ in range(max(100, steps // 10)):
        step()
    before, nodes = resident(), tape.live_nodes()
    for _ in range(steps):
        step()
    return {"kept": resident() - before, "kept_nodes": tape.live_nodes() - nodes}


if __name__ == "__main__":
    _, name, count = sys.argv
    print(json.dumps({"chain": chain, "loop": loop}[name](int(count))))
