from collections.abc import Callable
from typing import Any, final

from tape._core.rule import Rule
from tape._core.tensor import Tensor

REQUIRED: object

@final
class Op:
    outer: Rule | None
    joint: Rule | None
    vjps: list[Rule | None]
    adders: list[Rule | None] | None
    jvp: Rule | None
    foreign: bool
    refuses: bool
    def __init__(
        self,
        *,
        name: str,
        forward: Callable[..., Any],
        shape: Callable[..., Any],
        shape_settings: tuple[str, ...],
        kernel: Any,
        n_operands: int,
        setting_names: tuple[str, ...],
        defaults: tuple[Any, ...],
        differentiable: bool,
        reuse: bool,
        linear: bool,
        n_fixed: int,
    ) -> None: ...
    def __call__(self, *operands: Any, **settings: Any) -> Tensor: ...
    def __getattr__(self, name: str) -> Any: ...
    def __setattr__(self, name: str, value: Any) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def forward(self) -> Callable[..., Any]: ...
    @property
    def shape(self) -> Callable[..., Any]: ...
    @property
    def shape_settings(self) -> tuple[str, ...]: ...
    @property
    def kernel(self) -> Any: ...
    @property
    def n_operands(self) -> int: ...
    @property
    def setting_names(self) -> tuple[str, ...]: ...
    @property
    def defaults(self) -> tuple[Any, ...]: ...
    @property
    def differentiable(self) -> bool: ...
    @property
    def reuse(self) -> bool: ...
    @property
    def linear(self) -> bool: ...
    @property
    def serial(self) -> int: ...
