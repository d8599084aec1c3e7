"""What tests of the C kernels share: instruction sets, memory that ends, the machine's code."""

import ctypes
import functools
import mmap
import shutil
import subprocess

import numpy as np
import pytest

from tape._kernels import table

ISAS = [isa for isa, here in table.built().items() if here]

needs_objdump = pytest.mark.skipif(not shutil.which("objdump"), reason="no objdump here")
needs_avx512 = pytest.mark.skipif("avx512" not in ISAS, reason="no AVX-512 here")


def beside_a_guard(x):
    """A copy of x that ends where memory ends: one byte more is a fault."""
    pages = -(-x.nbytes // mmap.PAGESIZE) + 1
    room = mmap.mmap(-1, pages * mmap.PAGESIZE)
    libc = ctypes.CDLL(None, use_errno=True)
    start = ctypes.addressof(ctypes.c_char.from_buffer(room))
    last = start + (pages - 1) * mmap.PAGESIZE
    assert libc.mprotect(ctypes.c_void_p(last), mmap.PAGESIZE, 0) == 0
    y = np.frombuffer(room, x.dtype, x.size, (pages - 1) * mmap.PAGESIZE - x.nbytes)
    y = y.reshape(x.shape)
    y[...] = x
    return y


@functools.cache
def disassembly():
    """The kernels' code, line by line; a debug build, which keeps nothing in registers, skips."""
    lines = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", table.__file__],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    if any("__asan" in line for line in lines):
        pytest.skip("a debug build keeps nothing in registers")
    return lines
