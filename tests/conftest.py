"""Settings shared by all tests: reproducible Hypothesis, seeded generators."""

import gc
import os
import signal

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from isas import ISAS

import tape
from tape import fft, linalg, nn  # noqa: F401 - tape.OPS has all ops once they are imported
from tape._kernels import table

# Reproducible and without a deadline everywhere: shared machines are slow at random. For a search
# with fresh examples: HYPOTHESIS_PROFILE=search pytest.
settings.register_profile(
    "default",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", deadline=None, database=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True)
def _seeded():
    """Start every test from the same state of NumPy's global generator and of tape's own."""
    np.random.seed(0)
    tape.random.seed(0)


@pytest.fixture
def kernels_as_before():
    """The test may choose instruction sets and threads."""
    isa, threads = table.used(), tape.get_num_threads()
    yield
    table.use(isa)
    tape.set_num_threads(threads)


@pytest.fixture(scope="module", params=ISAS)
def every_isa(request):
    """The tests of a file run with the kernels of every instruction set of this machine."""
    used = table.used()
    table.use(request.param)
    yield
    table.use(used)


@pytest.fixture
def names():
    """The names that scopes make in the test begin anew."""
    with nn.Root() as root:
        yield root


@pytest.fixture(scope="session")
def _frozen():
    """What collecting the tests made is not looked through by every garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def nothing_left(_frozen):
    """The test leaves no node behind, and the cycle collector is not needed for that."""
    gc.collect()
    gc.disable()
    before = tape.live_nodes()
    yield
    left = tape.live_nodes() - before
    gc.enable()
    assert left == 0, f"{left} nodes are left"


@pytest.fixture
def alarms_are_ctrl_c():
    """`signal.setitimer` is a person at the keyboard."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
