"""What tests of gradients need, tape's and yours: `gradcheck`, `check`, `check_op`, strategies.

`import tape` does not load this package. The strategies (`tensors`, `arrays`, `broadcastable`,
`broadcastable_shapes`, `programs`) are loaded when they are first asked for, and `check` loads what
it needs when it is called, since only they need Hypothesis.

>>> import tape
>>> from tape.testing import gradcheck
>>> gradcheck(lambda a, b: tape.tanh(a @ b), [[[0.5, -1.0]], [[2.0], [0.25]]])
True
"""

from typing import TYPE_CHECKING, Any

from tape._core.node import live_nodes as live_nodes
from tape.testing.closeness import (
    TOLERANCES as TOLERANCES,
    Tolerance as Tolerance,
    assert_close as assert_close,
)
from tape.testing.gradient import gradcheck as gradcheck
from tape.testing.op_check import (
    PROPERTIES as PROPERTIES,
    check_bad as check_bad,
    check_op as check_op,
)
from tape.testing.operands import LAYOUTS as LAYOUTS, draw as draw
from tape.testing.search import check as check, need_hypothesis

if TYPE_CHECKING:
    from tape.testing.program import Program as Program, programs as programs
    from tape.testing.strategies import (
        arrays as arrays,
        broadcastable as broadcastable,
        broadcastable_shapes as broadcastable_shapes,
        tensors as tensors,
    )

LATE = dict.fromkeys(("arrays", "broadcastable", "broadcastable_shapes", "tensors"), "strategies")
LATE |= {"Program": "program", "programs": "program"}


def __getattr__(name: str) -> Any:
    """The strategies, which load Hypothesis."""
    if name in LATE:
        import importlib

        need_hypothesis()
        return getattr(importlib.import_module(f"tape.testing.{LATE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """All names, the strategies as well."""
    return sorted({*globals(), *LATE})
