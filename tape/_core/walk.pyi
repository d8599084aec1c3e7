from typing import final

@final
class Walk:
    @property
    def n(self) -> int: ...
