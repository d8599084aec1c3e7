"""What recurrent layers do number by number, at one step; compiled into each user."""

from cython cimport floating
from numpy cimport npy_intp


cdef struct Sequence:
    # All arrays are in C order. w is (gates * H, H); turned is (H, gates * H), the same weight.
    npy_intp T, B, H, gates
    int real
    npy_intp size           # bytes of a number
    bint reverse, relu
    char* x                 # what the inputs add to the gates (T, B, gates * H)
    char* h0
    char* c0
    char* w
    char* bias              # of the hidden product of a GRU, or NULL
    char* turned
    char* y                 # planes (n, T, B, H)
    char* g                 # as y
    char* d                 # gradient: (T, B, gates * H), dh0, dc0
    char* room              # (B, gates * H)
    int failed


cdef inline npy_intp at(const Sequence* s, npy_intp i) noexcept nogil:
    """The step that is taken as the i-th."""
    return s.T - 1 - i if s.reverse else i


cdef inline char* plane(const Sequence* s, char* planes, npy_intp which, npy_intp t) noexcept nogil:
    return planes + (which * s.T + t) * s.B * s.H * s.size


cdef inline void slope(
    const floating* g, const floating* dh, const floating* y, floating* d, npy_intp n, bint relu,
) noexcept nogil:
    cdef npy_intp j
    if relu:
        for j in range(n):
            d[j] = 0 if y[j] <= 0 else g[j] + dh[j]
    else:
        for j in range(n):
            d[j] = (g[j] + dh[j]) * (1 - y[j] * y[j])


cdef inline void cell(
    const floating* i, const floating* f, const floating* g, const floating* before, floating* c,
    npy_intp n,
) noexcept nogil:
    cdef npy_intp j
    for j in range(n):
        c[j] = f[j] * before[j] + i[j] * g[j]


cdef inline void scale(const floating* o, floating* h, npy_intp n) noexcept nogil:
    cdef npy_intp j
    for j in range(n):
        h[j] *= o[j]


cdef inline void lstm_gates(
    const Sequence* s, npy_intp t, const floating* before, const floating* tc, floating* dh,
    floating* dc,
) noexcept nogil:
    """The cotangents of what the gates were applied to, and of the cell before; dh is used up."""
    cdef npy_intp row, j, k, H = s.H
    cdef const floating* i = <floating*>plane(s, s.y, 0, t)
    cdef const floating* f = <floating*>plane(s, s.y, 1, t)
    cdef const floating* g = <floating*>plane(s, s.y, 2, t)
    cdef const floating* o = <floating*>plane(s, s.y, 3, t)
    cdef const floating* gi = <floating*>plane(s, s.g, 0, t)
    cdef const floating* gf = <floating*>plane(s, s.g, 1, t)
    cdef const floating* gg = <floating*>plane(s, s.g, 2, t)
    cdef const floating* go = <floating*>plane(s, s.g, 3, t)
    cdef const floating* gc = <floating*>plane(s, s.g, 4, t)
    cdef const floating* gh = <floating*>plane(s, s.g, 5, t)
    cdef floating* d
    for row in range(s.B):
        k = row * H
        d = <floating*>s.d + (t * s.B + row) * 4 * H
        for j in range(H):
            dh[k + j] += gh[k + j]
            dc[k + j] += dh[k + j] * o[k + j] * (1 - tc[k + j] * tc[k + j]) + gc[k + j]
        for j in range(H):
            d[j] = (dc[k + j] * g[k + j] + gi[k + j]) * i[k + j] * (1 - i[k + j])
        for j in range(H):
            d[2 * H + j] = (dc[k + j] * i[k + j] + gg[k + j]) * (1 - g[k + j] * g[k + j])
        for j in range(H):
            d[3 * H + j] = (dh[k + j] * tc[k + j] + go[k + j]) * o[k + j] * (1 - o[k + j])
        for j in range(H):
            d[H + j] = (dc[k + j] * before[k + j] + gf[k + j]) * f[k + j] * (1 - f[k + j])
            dc[k + j] *= f[k + j]


cdef inline void blend(
    const floating* z, const floating* n, const floating* before, floating* h, npy_intp count,
) noexcept nogil:
    cdef npy_intp j
    for j in range(count):
        h[j] = (before[j] - n[j]) * z[j] + n[j]


cdef inline void candidate(
    const Sequence* s, npy_intp t, const floating* r, const floating* m, floating* n,
) noexcept nogil:
    """What the inputs add to the new state, and r times what the state adds."""
    cdef npy_intp row, j
    cdef const floating* x
    for row in range(s.B):
        x = <floating*>s.x + ((t * s.B + row) * 3 + 2) * s.H
        for j in range(s.H):
            n[row * s.H + j] = x[j] + r[row * s.H + j] * m[row * s.H + j]


cdef inline void gru_gates(
    const Sequence* s, npy_intp t, const floating* before, floating* dh, floating* through,
) noexcept nogil:
    """The cotangents of what both products gave, and of the state before as far as z let it by."""
    cdef npy_intp row, j, k, H = s.H
    cdef const floating* r = <floating*>plane(s, s.y, 0, t)
    cdef const floating* z = <floating*>plane(s, s.y, 1, t)
    cdef const floating* n = <floating*>plane(s, s.y, 2, t)
    cdef const floating* m = <floating*>plane(s, s.y, 3, t)
    cdef const floating* gr = <floating*>plane(s, s.g, 0, t)
    cdef const floating* gz = <floating*>plane(s, s.g, 1, t)
    cdef const floating* gn = <floating*>plane(s, s.g, 2, t)
    cdef const floating* gm = <floating*>plane(s, s.g, 3, t)
    cdef const floating* gh = <floating*>plane(s, s.g, 4, t)
    cdef floating* d
    cdef floating* dx
    for row in range(s.B):
        k = row * H
        d = <floating*>s.d + (t * s.B + row) * 3 * H
        dx = d + s.T * s.B * 3 * H
        for j in range(H):
            dh[k + j] += gh[k + j]
            through[k + j] = dh[k + j] * z[k + j]
        for j in range(H):
            dx[H + j] = d[H + j] = (
                (dh[k + j] * (before[k + j] - n[k + j]) + gz[k + j]) * z[k + j] * (1 - z[k + j]))
        for j in range(H):
            dx[2 * H + j] = (dh[k + j] * (1 - z[k + j]) + gn[k + j]) * (1 - n[k + j] * n[k + j])
        for j in range(H):
            d[2 * H + j] = dx[2 * H + j] * r[k + j] + gm[k + j]
        for j in range(H):
            dx[j] = d[j] = (dx[2 * H + j] * m[k + j] + gr[k + j]) * r[k + j] * (1 - r[k + j])


cdef inline void add(const floating* x, floating* y, npy_intp n) noexcept nogil:
    cdef npy_intp j
    for j in range(n):
        y[j] += x[j]
