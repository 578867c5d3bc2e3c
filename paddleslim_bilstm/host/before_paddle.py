"""What comes before Paddle computes for us: its version must be known, and this machine's settings must be there."""

from __future__ import annotations

from ..cpu import apply_cpu_settings
from .versions import check_versions


def before_paddle() -> None:
    """Check the versions and apply the CPU settings; doing it again changes nothing.

    Raises:
        UnsupportedVersion: see `check_versions`.
    """
    check_versions()
    apply_cpu_settings()
