"""Programs with scopes, drawn at random, beside a dictionary of names."""

from hypothesis import given
from hypothesis import strategies as st

from tape import nn
from tape.errors import ScopeError

# Against a model: a dictionary of what stands for which name.

REUSE = st.sampled_from([None, None, False, True, "auto", "auto"])
NAMES = st.sampled_from(
    [None, "a", "b", "a/b", "dense", "dense_1", "scope", "scope_1", "parameter"]
)
SHAPES = st.sampled_from([(), (1,), (1,), (2,), None])
leaves = st.one_of(
    st.tuples(st.just("parameter"), NAMES, SHAPES), st.tuples(st.just("dense"), st.integers(1, 2))
)
programs = st.recursive(
    st.lists(leaves, max_size=4),
    lambda body: st.lists(
        st.one_of(leaves, st.tuples(st.just("scope"), NAMES, REUSE, body)), max_size=4
    ),
    max_leaves=12,
)


def run(program, seen):
    """What a program gets: names with numbers of tensors, or that it fails."""
    log = []
    for what, *rest in program:
        try:
            if what == "scope":
                name, reuse, body = rest
                with nn.scope(name, reuse=reuse) as path:
                    log.append(path)
                    log += run(body, seen)
                continue
            if what == "parameter":
                tensors = [nn.parameter(*rest)]
            else:
                tensors = list(nn.Dense(rest[0], 1).parameters())
            seen.extend(t for t in tensors if not any(t is s for s in seen))
            log += [(t.name, next(i for i, s in enumerate(seen) if s is t)) for t in tensors]
        except ScopeError:
            log.append("fails")
    return log


class Fails(Exception):
    pass


class Model:
    """The same by a dictionary: path -> None for a scope, (number, shape) for a tensor."""

    def __init__(self):
        self.known, self.generated, self.count, self.outermost = {}, set(), 0, {}

    def numbered(self, at, counters, base):
        while True:
            k = counters.get(base, 0)
            counters[base] = k + 1
            name = f"{base}_{k}" if k else base
            path = f"{at}/{name}" if at else name
            if (at, name) not in counters and (
                path not in self.known or (path in self.generated and at)
            ):
                counters[at, name] = True
                self.generated.add(path)
                return path

    def explicit(self, at, counters, names, reuse, last_is_tensor):
        made = []
        try:
            for i, name in enumerate(names):
                path = f"{at}/{name}" if at else name
                own = path in self.generated and (reuse is not True or "/" not in path)
                if own:
                    raise Fails
                if last_is_tensor and i == len(names) - 1:
                    return path, made
                if self.known.get(path) is not None:
                    raise Fails
                if path not in self.known:
                    self.known[path] = None
                    made.append(path)
                at = path
        except Fails:
            for path in made:
                del self.known[path]
            raise
        return at, made

    def tensor(self, path, shape, reuse):
        if path in self.known:
            if self.known[path] is None or reuse is False or (reuse is None):
                raise Fails
            number, there = self.known[path]
            if shape not in (None, there):
                raise Fails
            return path, number
        if reuse is True or shape is None:
            raise Fails
        self.known[path] = self.count, shape
        self.count += 1
        return path, self.known[path][0]

    def run(self, program, at="", reuse=False, counters=None):
        counters = self.outermost if counters is None else counters
        return [line for step in program for line in self.step(step, at, reuse, counters)]

    def step(self, step, at, reuse, counters):
        try:
            return getattr(self, step[0])(step[1:], at, reuse, counters)
        except Fails:
            return ["fails"]

    def scope(self, rest, at, reuse, counters):
        name, own, body = rest
        reuse = reuse if own is None else own
        if name is None:
            path = self.numbered(at, counters, "scope")
            self.known.setdefault(path, None)
        else:
            path, _ = self.explicit(at, counters, name.split("/"), reuse, False)
        return [path, *self.run(body, path, reuse, {})]

    def parameter(self, rest, at, reuse, counters):
        name, shape = rest
        if name is None:
            before = dict(counters)
            path = self.numbered(at, counters, "parameter")
            try:
                return [self.tensor(path, shape, reuse)]
            except Fails:
                counters.clear()
                counters.update(before)
                if path not in self.known:
                    self.generated.discard(path)
                raise
        path, made = self.explicit(at, counters, name.split("/"), reuse, True)
        try:
            return [self.tensor(path, shape, reuse)]
        except Fails:
            for above in made:
                del self.known[above]
            raise

    def dense(self, rest, at, reuse, counters):
        before, known, generated = dict(counters), dict(self.known), set(self.generated)
        count = self.count
        path = self.numbered(at, counters, "dense")
        try:
            if self.known.setdefault(path, None) is not None:
                raise Fails
            shapes = {"weight": (rest[0], 1), "bias": (rest[0],)}
            return [self.tensor(f"{path}/{n}", s, reuse) for n, s in shapes.items()]
        except Fails:
            counters.clear()
            counters.update(before)
            self.known, self.generated, self.count = known, generated, count
            raise


@given(st.lists(programs, min_size=1, max_size=3))
def test_programs_get_what_a_dictionary_of_names_would_give(parts):
    model, seen = Model(), []
    with nn.Root() as root:
        for program in parts:
            assert run(program, seen) == model.run(program)
    kept = {path for path, tensor in root.items() if any(tensor is s for s in seen)}
    assert kept <= {path for path, entry in model.known.items() if entry is not None}


@given(programs)
def test_a_program_that_runs_again_under_auto_gets_the_same(program):
    def plain(body):
        """Without flags of its own."""
        return [
            (what, rest[0], None, plain(rest[2])) if what == "scope" else (what, *rest)
            for what, *rest in body
        ]

    seen = []
    with nn.Root() as root:
        logs = []
        for _ in range(3):
            with nn.scope("whole", reuse="auto"):
                logs.append(run(plain(program), seen))
        assert logs[1] == logs[2]
        if "fails" not in logs[0]:
            assert logs[0] == logs[1]
        assert all(root[t.name] is t for t in seen)
