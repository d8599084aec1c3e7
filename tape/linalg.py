"""Linear algebra: the names of the Array API's extension `linalg`, and more that NumPy has.

Functions take matrices along the last two axes and any axes of a stack before them; integers are
taken as float64. Results that belong together are named tuples. A matrix without an inverse, a
factor or real eigenvalues is a `tape.LinAlgError` that says which of the stack it is.
"""

from tape.ops.decompose import EighResult, cholesky, eig, eigh, eigvals, eigvalsh
from tape.ops.determinant import SlogdetResult, det, slogdet
from tape.ops.diagonal import cross
from tape.ops.diagonal import matrix_diagonal as diagonal
from tape.ops.diagonal import matrix_trace as trace
from tape.ops.einsum import tensordot, vecdot
from tape.ops.linalg import matmul, outer
from tape.ops.magnitude import cond, matrix_norm, norm, vector_norm
from tape.ops.orthogonal import QRResult, SVDResult, qr, svd, svdvals
from tape.ops.powers import expm, matrix_power, multi_dot
from tape.ops.pseudo import LstsqResult, lstsq, matrix_rank, pinv
from tape.ops.shape import matrix_transpose
from tape.ops.solve import inv, solve, solve_triangular

__all__ = [
    "EighResult",
    "LstsqResult",
    "QRResult",
    "SVDResult",
    "SlogdetResult",
    "cholesky",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "expm",
    "inv",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "multi_dot",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]
