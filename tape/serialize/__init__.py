"""Models, optimizers and arrays in files: `save` and `load`.

Files have the safetensors format, which other libraries read and write as well. There is no pickle
in it or in tape: a file holds numbers and text, and loading one runs nothing that it says.
"""

from tape.serialize.loading import Loaded, load
from tape.serialize.saving import save

__all__ = ["Loaded", "load", "save"]
