"""The extension modules and their flags; everything else stands in pyproject.toml."""

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import Cython
import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

DEBUG = os.environ.get("TAPE_DEBUG") == "1"  # bounds checks, assertions and the sanitizers

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "cdivision": True,
    "autotestdict": False,
    "embedsignature": False,
}
CFLAGS = ["-O3", "-std=c11", "-fvisibility=hidden", "-Wall", "-Wextra", "-fno-math-errno"]
# What Cython generates trips these; our own C does not need them silenced.
CFLAGS += ["-Wno-unused-parameter", "-Wno-missing-field-initializers", "-Wno-cast-function-type"]
# No debug info, and no tables to unwind the stack, which only C++ and debuggers read.
CFLAGS += ["-g0", "-fno-asynchronous-unwind-tables"]
LDFLAGS = ["-Wl,-s"]
if DEBUG:
    sanitize = "-fsanitize=address,undefined"
    CFLAGS = [*CFLAGS[1:-2], "-O1", "-g", sanitize]
    LDFLAGS = [sanitize]
# What one op runs is much of the core: -O3 makes it longer and no faster (benchmarks "recorded").
CORE = [] if DEBUG else ["-O2"]
# A rule is calls into Python and tape: what the compiler makes of it costs size and no time.
SMALL = [] if DEBUG else ["-Os"]

# What is compiled serves only the same Python, NumPy and Cython: another one gets another folder.
BUILD = Path(
    "build",
    f"{sys.implementation.cache_tag}-numpy-{numpy.__version__}-cython-{Cython.__version__}"
    + DEBUG * "-debug",
)
LIB = str(BUILD / "lib")  # see Note [Incremental builds]

# Plain Python, compiled because rules run once an op: it keeps Python's own semantics.
PYTHON_DIRECTIVES = {
    "language_level": 3,
    "annotation_typing": False,
    "autotestdict": False,
    "binding": True,
    "embedsignature": False,
}
# They check their settings and call a kernel: -O3 only makes them large.
BRIEF = {"int8_filters", "sparse_rows"}
CYTHON = ["tape/_kernels/*.pyx", "tape/nn/*.pyx"]
PYTHON = ["tape/ops/[!_]*.py", "tape/shapes.py"]
# But these only call other ops or NumPy, or do work beside which their rules' time is nothing:
# compiled they are no faster, and 50 to 100 kB larger each.
# fmt: off
INTERPRETED = {
    "adaptive", "attention", "bags", "bessel", "binary", "binary_conv", "bitwise", "cases",
    "channels", "contract", "conv", "conv_nd", "conv_transpose", "convolve", "create", "ctc",
    "decompose", "depth", "determinant", "diagonal", "difference", "distance", "dropout",
    "einsum", "elu", "fourier", "geometry", "group_norm", "gru", "int8", "int8_conv",
    "interpolate", "likelihood", "linear_bits", "magnitude", "margin", "naming", "orthogonal",
    "packed", "pad", "patches", "polygamma", "pool", "pool1d", "powers", "pseudo", "random",
    "rank", "rectifiers", "recurrent", "regression", "resample", "rounding", "running", "scan",
    "scatter", "shrink", "signs", "solve", "sort", "special", "transform", "trig", "ufunc",
}
# fmt: on
# And what nothing may interrupt halfway: Python looks for Ctrl-C only where it interprets.
PYTHON += ["tape/nn/state.py", "tape/nn/opener.py", "tape/optim/steps.py"]


# Kernels in C, one library for each instruction set: only its own file gets its flags.
FEATURES = {
    "x86_64": {
        "avx512": "-mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vpopcntdq -mavx2 -mfma -mbmi2"
        " -mpopcnt -mprefer-vector-width=512",
        "avx2": "-mavx2 -mfma -mbmi2 -mpopcnt",
    },
    "aarch64": {"neon": ""},
}.get(platform.machine().lower().replace("amd64", "x86_64").replace("arm64", "aarch64"), {})
KERNEL_FLAGS = ["-fno-trapping-math", "-ffp-contract=fast", "-D_DEFAULT_SOURCE", "-pthread"]
KERNELS = Path("tape/_kernels")


def knows(flags: str) -> bool:
    """Whether the compiler takes these flags."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    command = [*compiler, *shlex.split(flags), "-x", "c", "-fsyntax-only", "-"]
    found = subprocess.run(command, input=b"int x;", capture_output=True)
    return found.returncode == 0


def libraries() -> list[tuple[str, dict]]:
    """The kernels that this compiler can make, in the order in which they are linked."""
    isas = {"scalar": ""}
    for isa, flags in FEATURES.items():
        if knows(flags):
            isas[isa] = flags
        else:
            print(f"tape: the compiler does not know {flags}: no {isa} kernels", file=sys.stderr)
    macros = [(f"TAPE_BUILT_{isa}", "1") for isa in isas]
    sources = {"select": (["select.c"], "")}
    sources |= {isa: ([f"isa/{isa}.c"], flags) for isa, flags in isas.items()}
    sources["parallel"] = (["parallel.c"], "")
    sources["bits"] = (["bit_words.c"], "")
    return [
        (
            f"tape_{name}",
            {
                "sources": [str(KERNELS / file) for file in files],
                "obj_deps": {"": ["setup.py", *map(str, sorted(KERNELS.rglob("*.h")))]},
                "macros": macros,
                "cflags": CFLAGS + KERNEL_FLAGS + shlex.split(flags),
            },
        )
        for name, (files, flags) in sources.items()
    ]


def extension(path: Path, cflags: list[str]) -> Extension:
    """A module of one source; a changed header or .pxd compiles it again."""
    name = ".".join(path.with_suffix("").parts)
    headers = [*Path("tape").rglob("*.pxd"), *Path("tape").rglob("*.[hc]")]
    return Extension(
        name,
        [str(path)],
        include_dirs=[numpy.get_include(), str(KERNELS), "tape/_core", str(BUILD)],
        define_macros=[
            ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
            (f"PyInit_{path.stem}", start(name)),
        ],
        extra_compile_args=[*cflags, "-include", "tape/_core/cold.h"],
        depends=["setup.py", *map(str, headers)],
    )


def start(name: str) -> str:
    """The C function that starts a module, by its full name: two are called `activation`."""
    return "PyInit_" + name.removeprefix("tape.").replace(".", "_")


def compiled(
    patterns: list[str], directives: dict[str, object], cflags: list[str]
) -> list[Extension]:
    """The extensions of all sources that match, as C."""
    return cythonize(
        [
            extension(p, cflags + (SMALL if p.stem in BRIEF else []))
            for pattern in patterns
            for p in sorted(Path().glob(pattern))
            if p.suffix == ".pyx" or p.stem not in INTERPRETED
        ],
        build_dir=str(BUILD / "cython"),
        compiler_directives=directives,
        nthreads=os.cpu_count() or 1,
    )


class Together(build_ext):
    """Compiles modules side by side, then links them all; see Note [One object]."""

    def build_extension(self, ext: Extension) -> None:
        """The one object."""
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            ext.extra_objects = list(threads.map(self.compiled, ext.modules))
        ext.depends += ext.extra_objects
        super().build_extension(ext)

    def compiled(self, module: Extension) -> str:
        """The object file of one module, made again if something newer goes into it."""
        [made] = self.compiler.object_filenames(module.sources)  # beside the C
        if self.force or newer_group([*module.sources, *module.depends], made, "newer"):
            self.compiler.compile(
                module.sources,
                macros=module.define_macros,
                include_dirs=[*self.include_dirs, *module.include_dirs],
                extra_postargs=module.extra_compile_args,
            )
        return made


def together(modules: list[Extension]) -> Extension:
    """The object in which all modules are, with a list of them."""
    text = "".join(f'MODULE("{module.name}", {start(module.name)})\n' for module in modules)
    listed = BUILD / "modules.h"
    if not listed.exists() or listed.read_text() != text:
        listed.write_text(text)
    [one] = compiled(["tape/_compiled.pyx"], DIRECTIVES, CFLAGS + SMALL)
    one.depends.append(str(listed))
    one.extra_link_args = [*LDFLAGS, "-pthread"]
    one.modules = modules
    return one


# Note [Incremental builds]: an editable install builds in a folder of its own that is deleted
# afterwards, so every `pip install -e .` would compile everything again. Naming the folder here
# lets editable installs, wheels and `build_ext --inplace` share what is compiled already.
if __name__ == "__main__":  # cythonize may start processes that import this file
    for folder in ("tape", LIB):  # what earlier checkouts compiled
        for leftover in Path(folder).rglob("*.so"):
            if not leftover.name.startswith("_compiled."):
                leftover.unlink()
    setup(
        options={
            "build": {"build_lib": LIB},
            "build_ext": {"build_lib": LIB},
            "build_clib": {"build_clib": str(BUILD / "clib"), "build_temp": str(BUILD / "clib")},
        },
        libraries=libraries(),
        cmdclass={"build_ext": Together},
        ext_modules=[
            together(
                [
                    *compiled(["tape/_core/*.pyx"], DIRECTIVES, CFLAGS + CORE),
                    *compiled(CYTHON, DIRECTIVES, CFLAGS),
                    *compiled(PYTHON, PYTHON_DIRECTIVES, CFLAGS + SMALL),
                ]
            )
        ],
    )
