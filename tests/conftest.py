"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paddleslim_bilstm.cpu import apply_cpu_settings

apply_cpu_settings()  # before a test computes anything; the processes that tests start inherit them


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with ``data/`` and ``teachers/``: $PADDLESLIM_BILSTM_TEST_DATA, or ``shared`` beside the checkout."""
    root = Path(__file__).resolve().parents[1]
    candidates = [os.environ.get("PADDLESLIM_BILSTM_TEST_DATA"), root.parent / "shared", root / "shared"]
    for folder in map(Path, filter(None, candidates)):
        if (folder / "data").is_dir() and (folder / "teachers").is_dir():
            return folder
    pytest.skip("needs the folder with data/ and teachers/; name it in PADDLESLIM_BILSTM_TEST_DATA")
