"""Data sets, the loader that cuts them into batches, and a reader of IDX files."""

from tape.data.dataset import ArrayDataset, Dataset
from tape.data.idx import IdxFolder, load_idx_folder, read_idx, write_idx
from tape.data.loader import DataLoader

__all__ = [
    "ArrayDataset",
    "DataLoader",
    "Dataset",
    "IdxFolder",
    "load_idx_folder",
    "read_idx",
    "write_idx",
]
