"""Progress bars of the long stages: done, total, rate and time left, on standard error."""

from tqdm import tqdm


def progress_bar(stage: str, total: int, unit: str) -> tqdm:
    """Return a tqdm bar for ``stage`` that shows itself once the stage has run for a second.

    Use it as a context manager and call ``update(n)`` with the ``unit``s done since the last call.
    """
    return tqdm(total=total, desc=stage, unit=f" {unit}", unit_scale=True, delay=1, mininterval=0.5,
                dynamic_ncols=True)
