"""`Tape`: a recording one can look into."""

from tape._core.node cimport Node
from tape._core.state cimport Ledger, current
from tape._core.tensor cimport Tensor, wrap


cdef class Tape(Ledger):
    """A tape of one's own: ops in its with-block are found again there, and counted.

    Attributes:
        hits: how many results were handed out again.
        evaluations: how many were computed.

    >>> import tape
    >>> x = tape.tensor([1.0, 2.0], requires_grad=True)
    >>> with tape.Tape() as t:
    ...     a = tape.exp(x)
    ...     b = tape.exp(x)
    >>> t.evaluations, t.hits, [node.op.name for node in t.nodes]
    (1, 1, ['exp'])
    """

    cdef list outer

    def __init__(self):
        self.lists_all = True
        self.outer = []

    def __enter__(self):
        self.outer.append(current().ledger)
        current().ledger = self
        return self

    def __exit__(self, *error):
        current().ledger = self.outer.pop()

    @property
    def nodes(self) -> list:
        """The live results recorded here, oldest first; `tape.graph.plot` draws them."""
        return [wrap(<Node>x) for x in self.table.entries() if (<Node>x).array is not None]

    @property
    def bytes(self) -> int:
        """Bytes of the live results, each buffer counted once."""
        buffers = {}
        for t in self.nodes:
            array = (<Tensor>t).node.array
            while array.base is not None and hasattr(array.base, "nbytes"):
                array = array.base
            buffers[id(array)] = array.nbytes
        return sum(buffers.values())
