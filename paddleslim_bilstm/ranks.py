"""Ranks: the processes that Paddle's launcher has started for one run. Only this file touches ``paddle.distributed``.

Without the launcher there is one rank, and nothing here does anything or loads Paddle. Under it the ranks meet where
the first of these functions needs the others. Whoever waits for another rank looks a few times a second whether one
has told of a failure, and ends then, too; one that can no longer tell is missed by its `Pulse`.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence, TypeVar

import numpy as np

from .errors import UserError, reason_in_short
from .pulse import Pulse

USER_ERROR, OTHER_ERROR, SIGNALLED = 2, 1, 143  # exit codes
_LIMIT_VARIABLE, _LIMIT_S = "FLAGS_stop_check_timeout", 300  # Paddle's own time limit of its launcher
_POLL_S = 0.2
_FAREWELL_S = 5.0
_EXIT_S = 60  # more than a process needs to end
_SUMMARY = "Error Message Summary:"  # in Paddle's errors
_SEEN_S = 60.0  # until a file shows on another machine
_FAILED, _FAILURE = "ranks/failed", "ranks/failure"

_Made = TypeVar("_Made")


class OtherRankFailed(Exception):
    """Another rank has failed, so this one ends, with the same exit code; the message says which and why."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


def count() -> int:
    """Return how many ranks the launcher has started; 1 without it."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM") or 1)


def rank() -> int:
    """Return which of the ranks this process is, from 0."""
    return int(os.environ.get("PADDLE_TRAINER_ID") or 0) if count() > 1 else 0


def is_first() -> bool:
    """Return whether this is the rank that writes files, shows news and measures."""
    return rank() == 0


def on_this_machine() -> tuple[int, int]:
    """Return which of the ranks of this machine this process is, and how many they are."""
    if "PADDLE_LOCAL_SIZE" in os.environ:
        return int(os.environ.get("PADDLE_LOCAL_RANK", 0)), int(os.environ["PADDLE_LOCAL_SIZE"])
    if count() == 1 or "PADDLE_TRAINER_ENDPOINTS" not in os.environ:
        return 0, 1
    own = os.environ.get("PADDLE_CURRENT_ENDPOINT", "")
    host = own.rpartition(":")[0]
    here = [one for one in os.environ["PADDLE_TRAINER_ENDPOINTS"].split(",") if one.rpartition(":")[0] == host]
    return (here.index(own), len(here)) if own in here else (0, 1)


def gpu() -> int:
    """Return the number of the GPU that the launcher has given to this rank; 0 without it."""
    return int((os.environ.get("FLAGS_selected_gpus") or "0").split(",")[0])


@contextmanager
def together() -> Iterator[None]:
    """Work that all ranks do: an error of any of them ends all, and each waits for all others at the end.

    Raises:
        UserError: of this rank, with its number before it.
        OtherRankFailed: in the other ranks.
    """
    if count() == 1:
        yield
        return
    _meet()
    with _pulse():
        try:
            yield
            wait("end")
        except OtherRankFailed:
            raise
        except BaseException as error:
            if (told := _told_to_others(error)) is error:
                raise
            raise told from error
    _see_off(f"{_next_key()}/off")


def _told_to_others(error: BaseException) -> BaseException:
    """Return what ends this rank where ``error`` has come up, once the others know; the failure of another has won."""
    if not isinstance(error, Exception):  # a signal: perhaps the launcher's, that ends us as another has failed
        failed = _failure_of_others()
        if failed is not None and failed.code != SIGNALLED:
            return failed
        _tell_failure(f"{_own_name()}: ended by a signal; the same command goes on", SIGNALLED)
    elif isinstance(error, (UserError, OSError, MemoryError)):
        if not str(error).startswith(_own_name()):
            error = UserError(f"{_own_name()}: {str(error) or 'the memory is full'}")
        _tell_failure(str(error), USER_ERROR)
    else:
        _tell_failure(f"{_own_name()}: {reason_in_short(error)}; its own log has more", OTHER_ERROR)
    return error


def wait(name: str) -> None:
    """Return when all ranks are here. They pass the same places in the same order, so ``name`` is for reading only."""
    if count() == 1:
        return
    key = f"{_next_key()}/{name}"
    _ask("add", key, 1)
    _until(lambda: _ask("add", key, 0) >= count())


def keepers_then_others(work: Callable[..., _Made], *arguments: Any, **options: Any) -> _Made:
    """Do ``work`` in the ranks that keep a cache, then in all others, who find there what these have left."""
    if keeps_cache():
        made = work(*arguments, **options)
        wait("kept")
        return made
    wait("kept")
    return work(*arguments, **options)


def of_first(make: Callable[[], Any]) -> Any:
    """Return in every rank what ``make`` returns in rank 0; something that JSON holds."""
    if count() == 1:
        return make()
    key = _next_key()
    if is_first():
        value = make()
        _ask("set", key, json.dumps(value).encode())
        _ask("add", f"{key}/set", 1)
        return value
    _until(lambda: _ask("add", f"{key}/set", 0))
    return json.loads(bytes(_ask("get", key)))


def of_all(value: Any) -> list[Any]:
    """Return in every rank the values of all, by rank; each something that JSON holds."""
    if count() == 1:
        return [value]
    key = _next_key()
    _ask("set", f"{key}/{rank()}", json.dumps(value).encode())
    wait("told")
    return [json.loads(bytes(_ask("get", f"{key}/{one}"))) for one in range(count())]


def arrays_of_first(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return in every rank the arrays that rank 0 has, to the byte."""
    if count() == 1:
        return dict(arrays)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    kinds = of_first(lambda: [[name, array.dtype.str, array.shape] for name, array in arrays.items()])
    sizes = [int(np.dtype(kind).itemsize * np.prod(shape, dtype=np.int64)) for _, kind, shape in kinds]
    flat = np.zeros(sum(sizes), np.uint8)
    if is_first() and len(flat):
        flat = np.concatenate([array.reshape(-1).view(np.uint8) for array in arrays.values()])
    if len(flat):
        flat = array_of(0, flat)
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    return {name: np.ascontiguousarray(part).view(kind).reshape(shape)
            for (name, kind, shape), part in zip(kinds, parts)}


def array_of(source: int, array: np.ndarray) -> np.ndarray:
    """Return in every rank the array of the rank ``source``; those of the others have its shape and dtype."""
    return _collective(lambda distributed, tensor: distributed.broadcast(tensor, src=source), array)


def sum_of_all(array: np.ndarray) -> np.ndarray:
    """Return the sum of the ranks' arrays, float32 ``[n]``, the same to the byte in every rank."""
    return _collective(lambda distributed, tensor: distributed.all_reduce(tensor), array) if count() > 1 else array


def sum_tensors(tensors: Sequence[Any]) -> None:
    """Replace tensors of dynamic mode by the sums over all ranks; all ranks have the same number of them."""
    if count() > 1:
        with _collectives() as distributed:
            for tensor in tensors:
                distributed.all_reduce(tensor)


def check_agreement(what: str, key: str, remedy: str = "give all machines the same files, the same configuration and "
                    "the same versions of Python packages") -> None:
    """Check that all ranks have the same ``key``.

    Raises:
        UserError: this one has another than rank 0.
    """
    if of_first(lambda: key) != key:
        raise UserError(f"{what} differs from that of rank 0: {remedy}")


def keeper_of(folder: Path) -> int:
    """Return the first of the ranks that see the same ``folder`` as this one: it writes there, for all of these."""
    if count() == 1:
        return 0
    token = of_first(lambda: f".seen-{os.urandom(8).hex()}")
    files = [folder / f"{token}-{one}" for one in range(count())]
    files[rank()].touch()
    wait("written")
    try:
        end = time.monotonic() + _SEEN_S
        while not all(file.exists() for file in files) and time.monotonic() < end:
            time.sleep(_POLL_S)
        first = [file.exists() for file in files].index(True)
        wait("seen")
    finally:
        files[rank()].unlink(missing_ok=True)
    return first


def share_cache(folder: Path) -> None:
    """Have those ranks that see the same cache ``folder`` leave its keeping to one of them, from now on."""
    _Meeting.keeper = keeper_of(folder)


def keeper() -> int:
    """Return the rank that writes this one's cache: rank 0, or the first of those with the same other folder."""
    return _Meeting.keeper


def keeps_cache() -> bool:
    """Return whether that is this rank."""
    return rank() == _Meeting.keeper


class _Meeting:
    """Where the ranks have met: the store of the launcher's kind that holds their words, and how many were said.

    Beside it, which rank keeps this one's cache, this one's pulse while they work together, its stage, and whether
    rank 0, which holds the store, has fallen silent: whoever asked for anything there would wait without end.
    """

    store: Any = None
    words = 0
    keeper = 0
    pulse: Pulse | None = None
    stage = ""
    is_deserted = False


def enter_stage(name: str) -> None:
    """Note what this rank does from now on, for messages."""
    _Meeting.stage = name


def _ask(method: str, *arguments: Any) -> Any:
    """Return what a method of the store answers.

    Raises:
        OtherRankFailed: there is none any more.
    """
    _meet()
    try:
        return getattr(_Meeting.store, method)(*arguments)
    except (RuntimeError, ValueError, OSError) as error:
        raise _without_store() from error


def _next_key() -> str:
    _Meeting.words += 1
    return f"ranks/{_Meeting.words}"


def _meet() -> None:
    """Let the ranks find each other, once in a process.

    Raises:
        UserError: they don't within the launcher's time limit, or rank 0 can't listen.
    """
    if _Meeting.store is not None:
        return
    import paddle
    from paddle.base import core
    if paddle.distributed.is_initialized():  # by the user's script
        _Meeting.store = core.create_or_get_global_tcp_store()
        atexit.register(_leave)
        return
    endpoint, limit_s = _endpoint(), _limit_s()
    found: list[Any] = []

    def connect() -> None:
        try:
            found.append(_connected(is_first(), count()))
        except Exception as error:  # Paddle's classes differ by what is wrong
            found.append(error)

    thread = threading.Thread(target=connect, daemon=True)  # it can't be interrupted
    thread.start()
    thread.join(limit_s)
    if not found:
        missing = "not all other ranks have come" if is_first() else "rank 0 doesn't answer"
        raise UserError(f"rank {rank()} of {count()}: {missing} to {endpoint} within {limit_s} s; check that every "
                        "machine was started with the same --ips, or --master and --nnodes, and can reach this "
                        f"address ({_LIMIT_VARIABLE} is the time limit)")
    if isinstance(found[0], Exception):
        what = "can't listen at" if is_first() else "can't reach"
        raise UserError(f"rank {rank()} of {count()}: {what} {endpoint} ({_in_a_line(found[0])}); check the address, "
                        "or name another port in --start_port or --master") from found[0]
    _join_group(core, found[0])
    _Meeting.store = found[0]
    atexit.register(_leave)


def _endpoint() -> str:
    return os.environ.get("PADDLE_MASTER") or os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")[0]


def _limit_s() -> int:
    return int(os.environ.get(_LIMIT_VARIABLE) or _LIMIT_S)


def _connected(holds_it: bool, ranks: int) -> Any:
    """Return the store, once so many ranks are connected to it; it has a time limit of its own, and aborts by that."""
    from paddle.base import core
    host, _, port = _endpoint().rpartition(":")
    if holds_it:
        with socket.socket() as probe:  # Paddle 3 aborts at a port that is taken
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", int(port)))
    return core.TCPStore(host, int(port), holds_it, ranks, _limit_s() + _EXIT_S)


@contextmanager
def _pulse() -> Iterator[None]:
    """Have a pulse, if there isn't one yet: work together may hold other such work."""
    if _Meeting.pulse is not None:
        yield
        return
    others = [other for other in range(count()) if other] if is_first() else [0]
    pulse = _Meeting.pulse = Pulse(_connected(False, 0), rank(), others, _limit_s(), _told_in, _fallen_silent)
    try:
        yield
    finally:
        pulse.stop()
        _Meeting.pulse = None


def _fallen_silent(other: int) -> OtherRankFailed:
    """Return the failure of a rank that nothing is heard of; rank 0 tells it to all who still listen."""
    places = os.environ.get("PADDLE_TRAINER_ENDPOINTS", "").split(",")
    where = f" at {places[other]}" if other < len(places) else ""
    here = f", and rank {rank()} waits in vain in its stage {_Meeting.stage!r}" if _Meeting.stage else ""
    message = (f"rank {other} of {count()}{where} has not been heard of for {_limit_s()} s ({_LIMIT_VARIABLE} is the "
               f"time limit){here}; see whether its machine and its network are up; the same command goes on")
    if is_first():
        _tell_failure_in(_connected(False, 0), message, OTHER_ERROR)
    else:
        _Meeting.is_deserted = True
    return OtherRankFailed(message, OTHER_ERROR)


def _join_group(core: Any, store: Any) -> None:
    """Have Paddle make its group over ``store`` in place of one of its own, whose making has no time limit."""
    import paddle

    from .scopes import dynamic_mode
    own = core.create_or_get_global_tcp_store
    core.create_or_get_global_tcp_store = lambda: store
    try:
        with dynamic_mode():
            paddle.distributed.init_parallel_env()
    finally:
        core.create_or_get_global_tcp_store = own


def _collective(work: Callable[[Any, Any], Any], array: np.ndarray) -> np.ndarray:
    """Return what ``work(paddle.distributed, tensor)`` makes of an array, in place."""
    import paddle
    with _collectives() as distributed:
        tensor = paddle.to_tensor(array)
        work(distributed, tensor)
        return tensor.numpy()


@contextmanager
def _collectives() -> Iterator[Any]:
    """Yield ``paddle.distributed``, in dynamic mode.

    Raises:
        OtherRankFailed: the other end has gone.
    """
    import paddle

    from .scopes import dynamic_mode
    _meet()
    try:
        with dynamic_mode(), paddle.no_grad():
            yield paddle.distributed
    except Exception as error:  # each backend has its own
        end = time.monotonic() + _FAREWELL_S
        while time.monotonic() < end:  # whoever failed may be about to say so
            if failed := _failure_of_others():
                raise failed from error
            time.sleep(_POLL_S)
        raise OtherRankFailed(f"another rank has gone ({_in_a_line(error)})", OTHER_ERROR) from error


def _until(done: Callable[[], Any]) -> None:
    """Return once ``done()`` is true.

    Raises:
        OtherRankFailed: a rank has.
    """
    while not done():
        if failed := _failure_of_others():
            raise failed
        time.sleep(_POLL_S)


def _failure_of_others() -> OtherRankFailed | None:
    if _Meeting.pulse is not None and _Meeting.pulse.failure is not None:
        return _Meeting.pulse.failure
    return _told_in(_Meeting.store)


def _without_store() -> OtherRankFailed:
    """Return why a store no longer answers: rank 0 and its store are gone, or this is rank 0, and a signal came.

    A signal, the launcher's for one, breaks a call off and its connection with it; another one still reads what a rank
    that failed has told.
    """
    if not is_first():
        return OtherRankFailed("rank 0 has gone", OTHER_ERROR)
    with suppress(Exception):
        if failed := _read_failure(_connected(False, 0)):
            return failed
    return OtherRankFailed("another rank has gone; the launcher says which", OTHER_ERROR)


def _told_in(store: Any) -> OtherRankFailed | None:
    try:
        return _read_failure(store)
    except Exception:
        return _without_store()


def _read_failure(store: Any) -> OtherRankFailed | None:
    if not store.add(_FAILED, 0):
        return None
    said = json.loads(bytes(store.get(_FAILURE)))
    return OtherRankFailed(said["message"], said["code"])


def _tell_failure(message: str, code: int) -> None:
    with suppress(Exception):  # rank 0 is gone, and its store
        _tell_failure_in(_Meeting.store, message, code)


def _tell_failure_in(store: Any, message: str, code: int) -> None:
    if not store.add(_FAILED, 0):
        store.set(_FAILURE, json.dumps({"message": message, "code": code}).encode())
        store.add(_FAILED, 1)


def _see_off(place: str) -> None:
    """Have rank 0, which keeps the store, wait for the others, who may have yet to read in it; not for long."""
    if _Meeting.is_deserted:
        return
    with suppress(Exception):  # rank 0 is gone, and its store
        end = time.monotonic() + _FAREWELL_S
        _Meeting.store.add(place, 1)
        while is_first() and _Meeting.store.add(place, 0) < count() and time.monotonic() < end:
            time.sleep(_POLL_S)


def _leave() -> None:
    """See the others off at the process's end, which a launcher's signal must no longer disturb."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _see_off("ranks/left")  # wherever each of them was


def _own_name() -> str:
    return f"rank {rank()} of {count()} on {socket.gethostname()}"


def _in_a_line(error: BaseException) -> str:
    """Return what Paddle says behind its C++ traceback."""
    lines = [line.strip() for line in str(error).rpartition(_SUMMARY)[2].splitlines() if line.strip("- ")]
    return lines[0] if lines else type(error).__name__
