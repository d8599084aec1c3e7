"""Pictures as SVG, laid out in layers by frames: what is in a frame first, then the frame as one.

Note [Layers of a picture]
Within a frame an item, a box or an inner frame, stands below all that it is made of; what is made
of nothing in the frame stands right above what uses it. An arrow that passes other layers has a
bend in each, so that it goes around the boxes; bends take places in their layers as items do.
"""

from __future__ import annotations

import math
from html import escape
from itertools import pairwise

from tape.graph.picture import Picture

__all__ = ["draw"]

CHARACTER, LINE, TITLE = 6.6, 14, 18  # sizes of text, in pixels
ROW_GAP, GAP, MARGIN = 34, 16, 10
MAX_BENDS = 40  # of one arrow; a longer one goes straight
SWEEPS = 8


class Layout:
    """Where all boxes, frames and bends of a picture are.

    Items are boxes, then frames, then the whole, then bends, by index.
    """

    def __init__(self, picture: Picture) -> None:
        n, m = len(picture.boxes), len(picture.frames)
        self.n, self.whole = n, n + m
        around = [*(box.frame for box in picture.boxes), *(f.outer for f in picture.frames)]
        self.outer = [self.whole if at is None else n + at for at in around] + [-1]
        self.width = [CHARACTER * max(map(len, box.lines)) + 16 for box in picture.boxes]
        self.height = [LINE * len(box.lines) + 10.0 for box in picture.boxes]
        titles = [CHARACTER * len(frame.text) + 2 * MARGIN for frame in picture.frames]
        self.width += [*titles, 0.0]
        self.height += [0.0] * (m + 1)
        self.x, self.y = [0.0] * (n + m + 1), [0.0] * (n + m + 1)
        self.members: list[list[int]] = [[] for _ in range(n + m + 1)]
        for i, at in enumerate(self.outer[:-1]):
            self.members[at].append(i)
        self.when = [float(i) for i in range(n)] + [math.inf] * (m + 1)
        for i in reversed(range(self.whole)):
            if i >= n or picture.boxes[i].kind == "op" or self.outer[i] == self.whole:
                at = self.outer[i]
                self.when[at] = min(self.when[at], self.when[i])
        for i in reversed(range(n, self.whole)):  # frames of parameters alone
            inside = [self.when[j] for j in self.members[i]]
            self.when[i] = self.when[i] if self.when[i] < math.inf else min(inside)
        self.depth = [0] * (n + m + 1)
        for i in [*range(n, self.whole), *range(n)]:  # frames come after those around them
            self.depth[i] = self.depth[self.outer[i]] + 1
        self.links: list[list[tuple[int, int, int]]] = [[] for _ in range(n + m + 1)]
        self.leaving: list[list[tuple[int, int]]] = [[] for _ in range(n + m + 1)]
        self.entering: list[list[tuple[int, int]]] = [[] for _ in range(n + m + 1)]
        for k, (a, b, _) in enumerate(picture.arrows):
            self.link(k, a, b)
        self.down: list[list[int]] = [[] for _ in picture.arrows]  # bends up to both ends' frame
        self.into: list[list[int]] = [[] for _ in picture.arrows]  # and further down
        for at in [*reversed(range(n, self.whole)), self.whole]:
            self.arrange(at)
        for i in [*range(n, self.whole), *range(n), *range(self.whole + 1, len(self.x))]:
            self.x[i] += self.x[self.outer[i]]
            self.y[i] += self.y[self.outer[i]]

    def link(self, k: int, a: int, b: int) -> None:
        """Note an arrow in the frame that has both ends in it, and in those on the way."""
        while self.outer[a] != self.outer[b]:
            if self.depth[a] >= self.depth[b]:
                self.leaving[self.outer[a]].append((a, k))
                a = self.outer[a]
            else:
                self.entering[self.outer[b]].append((b, k))
                b = self.outer[b]
        self.links[self.outer[a]].append((a, b, k))

    def arrange(self, at: int) -> None:
        """Place the items of a frame, relative to it, and give it its size."""
        links = [link for link in self.links[at] if self.when[link[0]] < self.when[link[1]]]
        rows = self.rows(at, links)
        beside: dict[int, list[int]] = {}
        chains = []
        for a, b, k in links:
            made = self.bends(at, rows[self.row[a] + 1 : self.row[b]])
            self.down[k] += made
            chains.append([a, *made, b])
        for a, k in self.leaving[at]:
            made = self.bends(at, rows[self.row[a] + 1 :])
            self.down[k] += made
            chains.append([a, *made])
        for b, k in self.entering[at]:
            made = self.bends(at, rows[: self.row[b]])
            self.into[k] = made + self.into[k]
            chains.append([*made, b])
        for i, j in (pair for chain in chains for pair in pairwise(chain)):
            beside.setdefault(i, []).append(j)
            beside.setdefault(j, []).append(i)
        self.order(rows, beside)
        top = TITLE + MARGIN if at != self.whole else MARGIN
        widths = [sum(self.width[i] + GAP for i in row) - GAP for row in rows]
        self.width[at] = max([self.width[at], *(w + 2 * MARGIN for w in widths)])
        y = float(top)
        for row, width in zip(rows, widths, strict=True):
            x, tall = (self.width[at] - width) / 2, max(self.height[i] for i in row)
            for i in row:
                self.x[i], self.y[i] = x, y + (tall - self.height[i]) / 2
                x += self.width[i] + GAP
            y += tall + ROW_GAP
        self.height[at] = y - ROW_GAP + MARGIN

    def rows(self, at: int, links: list[tuple[int, int, int]]) -> list[list[int]]:
        """The items of a frame by rows; see Note [Layers of a picture]."""
        self.row = dict.fromkeys(sorted(self.members[at], key=lambda i: self.when[i]), 0)
        above: dict[int, list[int]] = {}
        users: dict[int, list[int]] = {}
        for a, b, _ in links:
            above.setdefault(b, []).append(a)
            users.setdefault(a, []).append(b)
        for i in self.row:
            self.row[i] = 1 + max((self.row[j] for j in above.get(i, ())), default=-1)
        for i in self.row:
            if i not in above and i in users:
                self.row[i] = min(self.row[j] for j in users[i]) - 1
        rows: list[list[int]] = [[] for _ in range(1 + max(self.row.values(), default=-1))]
        for i, row in self.row.items():
            rows[row].append(i)
        return rows

    def bends(self, at: int, rows: list[list[int]]) -> list[int]:
        """New items for the bends of an arrow, one in each of these rows."""
        if len(rows) > MAX_BENDS:
            return []
        made = list(range(len(self.x), len(self.x) + len(rows)))
        for row, i in zip(rows, made, strict=True):
            row.append(i)
        for values in (self.x, self.y, self.width, self.height):
            values += [0.0] * len(made)
        self.outer += [at] * len(made)
        return made

    def order(self, rows: list[list[int]], beside: dict[int, list[int]]) -> None:
        """Bring each row into an order in which few arrows cross, by the middles of neighbours."""
        place = {i: p for row in rows for p, i in enumerate(row)}
        level = {i: r for r, row in enumerate(rows) for i in row}
        for sweep in range(SWEEPS):
            step = 1 if sweep % 2 == 0 else -1
            for row in rows[::step]:
                middle = {}
                for i in row:
                    near = [place[j] for j in beside.get(i, ()) if (level[i] - level[j]) * step > 0]
                    middle[i] = sum(near) / len(near) if near else place[i]
                row.sort(key=lambda i, middle=middle: middle[i])  # type: ignore[misc]
                place.update((i, p) for p, i in enumerate(row))

    def ends(self, i: int) -> tuple[float, float, float]:
        """The middle of an item, its upper and its lower edge."""
        return self.x[i] + self.width[i] / 2, self.y[i], self.y[i] + self.height[i]


def draw(picture: Picture, fill: dict[str, str]) -> str:
    """The picture as SVG, its boxes filled by kind."""
    at = Layout(picture)
    n, width, height = at.n, at.width[at.whole], at.height[at.whole]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="11">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#fff"/>',
    ]

    def rectangle(i: int, rest: str) -> str:
        return (
            f'<rect x="{at.x[i]:.1f}" y="{at.y[i]:.1f}" width="{at.width[i]:.1f}" '
            f'height="{at.height[i]:.1f}" {rest}/>'
        )

    for i, frame in enumerate(picture.frames, n):
        lines.append(rectangle(i, 'rx="4" fill="#000" fill-opacity="0.03" stroke="#999"'))
        x, y = at.x[i] + MARGIN, at.y[i] + LINE
        lines.append(f'<text x="{x:.1f}" y="{y:.1f}" fill="#555">{escape(frame.text)}</text>')
    texts: dict[int, str] = {}  # under each operand: all its arrows say the same
    for k, (a, b, text) in enumerate(picture.arrows):
        (x0, _, y0), (x1, y1, _) = at.ends(a), at.ends(b)
        points = [(x0, y0), *((at.x[i], at.y[i]) for i in at.down[k] + at.into[k]), (x1, y1)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        lines.append(
            f'<polyline points="{path}" fill="none" stroke="#555" marker-end="url(#tip)"/>'
        )
        w = 5 * len(text)
        texts[a] = (
            f'<rect x="{x0 - w / 2:.1f}" y="{y0 + 4:.1f}" width="{w}" height="11" fill="#fff" '
            f'fill-opacity="0.8"/><text x="{x0:.1f}" y="{y0 + 13:.1f}" text-anchor="middle" '
            f'font-size="9">{escape(text)}</text>'
        )
    for i, box in enumerate(picture.boxes):
        rest = ' rx="8"' * (box.kind != "op") + ' stroke-dasharray="4 3"' * (box.kind == "frozen")
        lines.append(rectangle(i, f'fill="{fill[box.kind]}" stroke="#333"{rest}'))
        x, top, _ = at.ends(i)
        for k, line in enumerate(box.lines):
            y = top + LINE * (k + 1)
            text = f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escape(line)}</text>'
            lines.append(text)
    return "\n".join([*lines, *texts.values(), "</svg>", ""])
