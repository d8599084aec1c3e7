from typing import final

from tape._core.rule import FREED as FREED

@final
class Walk:
    @property
    def n(self) -> int: ...
