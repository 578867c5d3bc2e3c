"""Arrays that grow on disk: ``.npy`` files that are appended to."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

_HEADER_BYTES = 128
_BYTES_PER_READ = 1 << 22


class ArrayWriter:
    """Writes a one-dimensional ``.npy`` file piece by piece; use it as a context manager.

    ``digest`` is the BLAKE2b checksum (32 hex digits) of the values written so far.
    """

    def __init__(self, path: Path, dtype: type) -> None:
        self._file = open(path, "wb")
        self._file.write(b"\0" * _HEADER_BYTES)
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._digest = hashlib.blake2b(digest_size=16)
        self.length = 0

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    def append(self, values: np.ndarray) -> None:
        """Append ``values``, converted to the file's dtype."""
        data = np.ascontiguousarray(values, self._dtype).data
        self._file.write(data)
        self._digest.update(data)
        self.length += len(values)

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                self._file.write(_header(self._dtype, self.length))


def read_array(path: Path, dtype: type, length: int, digest: str) -> np.ndarray:
    """Memory-map a file of ``ArrayWriter``, read-only.

    Raises:
        ValueError: its size, header or checksum is not what was written.
        OSError: it can't be read.
    """
    expected = _header(np.dtype(dtype).newbyteorder("<"), length)
    found = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        if file.read(_HEADER_BYTES) != expected:
            raise ValueError(f"{path.name} has another header than was written")
        while block := file.read(_BYTES_PER_READ):
            found.update(block)
    if found.hexdigest() != digest:
        raise ValueError(f"{path.name} has another checksum than was written")
    return np.asarray(np.load(path, mmap_mode="r" if length else None, allow_pickle=False))


def _header(dtype: np.dtype, length: int) -> bytes:
    """Return a version 1.0 ``.npy`` header of always the same size."""
    text = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': ({length},), }}"
    return b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little") + \
        text.ljust(_HEADER_BYTES - 11).encode() + b"\n"
