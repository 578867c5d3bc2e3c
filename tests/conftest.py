"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import paddleslim_bilstm  # noqa: F401  (before anything imports Paddle, so that its CPU settings take effect)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with ``data/`` and ``teachers/``: $PADDLESLIM_BILSTM_TEST_DATA, or ``shared`` beside the checkout."""
    root = Path(__file__).resolve().parents[1]
    candidates = [os.environ.get("PADDLESLIM_BILSTM_TEST_DATA"), root.parent / "shared", root / "shared"]
    for folder in map(Path, filter(None, candidates)):
        if (folder / "data").is_dir() and (folder / "teachers").is_dir():
            return folder
    pytest.skip("needs the folder with data/ and teachers/; name it in PADDLESLIM_BILSTM_TEST_DATA")
