"""`Tape`: a recording one can look into."""

from tape._core.node cimport Node
from tape._core.state cimport Ledger, Tally, current
from tape._core.tensor cimport Tensor, wrap
from _thread import get_ident

from tape._core.report import Report, Reused


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
        self.lists_all, self.tallies = True, {}
        self.outer = []

    def __enter__(self):
        self.outer.append((get_ident(), current().ledger))
        current().ledger = self
        return self

    def __exit__(self, *error):
        """Go back to the tape that this thread had: others may have entered since."""
        thread = get_ident()
        cdef Py_ssize_t i
        for i in range(len(self.outer) - 1, -1, -1):
            if self.outer[i][0] == thread:
                current().ledger = self.outer.pop(i)[1]
                return

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

    def report(self):
        """What was reused here, what it saved, what is held: a `Report`, which prints as a table.

        Times are measured: each result notes how long its op took, and handing it out again saves
        that much, unless it must be computed a second time since its value was not kept. What a
        gradient saves by walking a shared part once comes on top.

        >>> import tape
        >>> x = tape.ones((64, 64), requires_grad=True)
        >>> with tape.Tape() as t:
        ...     heads = tape.exp(x).sum(), tape.exp(x).max()
        >>> report = t.report()
        >>> report.hits, report.evaluations, report.nodes
        (1, 3, 3)
        >>> report.ops[0].op, report.ops[0].hits, report.saved > 0
        ('exp', 1, True)
        """
        cdef Tally x
        rows = [Reused(op.name, x.hits, x.evaluations, x.seconds, x.saved)
                for op, x in self.tallies.items()]
        rows.sort(key=lambda row: (-row.saved, -row.seconds))
        return Report(
            tuple(rows), self.hits, self.evaluations, sum([row.seconds for row in rows]),
            sum([row.saved for row in rows]), len(self.nodes), self.bytes,
        )
