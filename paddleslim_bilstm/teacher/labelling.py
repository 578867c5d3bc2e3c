"""Asking the teacher once for the logits of a whole transfer set, in pieces that survive a killed run."""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Iterator, NamedTuple, Sequence

import numpy as np

from .. import ranks
from ..cpu import has_fast_bf16, trim_heap
from ..errors import UserError
from ..progress import progress_bar
from ..storage import checksum, copy_whole, read_sealed_json, whole_file, write_sealed_json
from ..task import CLASSIFICATION, Task
from ..text.rows import Where
from ..tokens import Sentences
from ..tokens.framing import IDS
from .engine import Engine, runs_on_gpu
from .hints import HINT_UNITS, Basis, packed
from .shared_chunks import SharedChunks
from .teacher import Teacher

_log = logging.getLogger(__name__)

CHUNK_SENTENCES = 65_536
LABELS_FORMAT = 3  # counts up when the same sentences and teacher would get other logits, or have them elsewhere
_CHECK_SENTENCES = 2_000
# A label that changes is one on the edge: a logit moves by less than a hundredth of what it varies between sentences.
_MIN_AGREEMENT = 0.999
_CHANCE = 3.0  # standard deviations by which a sample may fall short of it
_MAX_RELATIVE_DIFFERENCE = 0.01
_CONSTANT_SPREAD = 1e-4
_EXTRA_PADDING = 8
_MAX_PADDING_CHANGE = 0.01
_DIGEST_BYTES = 16
_LOGITS, _HINTS = "logits.npy", "hints.npy"


@dataclass(frozen=True)
class Labels:
    """The teacher's answers.

    Attributes:
        logits: float32 ``[n, classes]``, mapped from disk, in the order of the sentences.
        hints: what its hidden states tell, int8 ``[n, units]`` as `hints.packed` packs them, mapped from disk; None of
            a teacher that doesn't tell. Of several teachers, those of the first that does.
        precision: ``"fp32"``, ``"bf16"`` or, of several teachers, ``"bf16 and fp32"``.
        check: bf16 against fp32 on a sample: ``sentences``, ``max_difference``, ``mean_difference`` of the logits,
            ``agreement`` of the labels; empty where bf16 was not tried. Of several teachers, the worst in bf16.
        key: changes with the sentences, the teacher and the precision.
    """

    logits: np.ndarray
    hints: np.ndarray | None
    precision: str
    check: dict[str, Any]
    key: str


def label(teacher: Teacher, sentences: Sentences, cache_dir: Path, key: str, threads: int,
          where: Where | None = None, task: Task = CLASSIFICATION) -> Labels:
    """Return the teacher's logits of ``sentences``, with hints where it has any, from ``cache_dir`` as far as they are
    there.

    They are kept under ``key``, which names the sentences, with the teacher's fingerprint and framing, in chunks of
    65,536 sentences, or of the teacher's ``chunk_sentences``, with a checksum each: a killed run goes on behind its
    last finished chunk, and a damaged chunk is made again with a warning. A chunk that other labels in ``cache_dir``
    have, too, is taken from there: a transfer set of more rounds begins with the one of fewer. The one file that is
    mapped is put together from the chunks at each call. On CPUs with bf16 a sample decides whether bf16 is close enough
    to fp32. Of several teachers each labels by itself, so that its labels serve in other company, too; their mean is
    put together at each call. The caller has cut the sentences to ``max_seq_length`` less the special tokens.

    Of several ranks, rank ``r`` of ``n`` makes the chunks ``r``, ``r + n``, ``r + 2n``, ..., unless they are in some
    rank's cache; then caches that lack chunks are sent them, and whoever keeps a cache puts them together there.

    Args:
        where: tells where sentences were read, by their indices; for messages.
        task: says what it is to answer the same.

    Raises:
        UserError: the teacher answers NaN or infinity; the message names the sentence and where it comes from.
    """
    if teacher.members:
        return _mean_labels(teacher, sentences, cache_dir, key, threads, where, task)
    fingerprint = _fingerprint(teacher, sentences, key)
    ranks.check_agreement("what is to be labelled, or by whom,", fingerprint)
    folder = _folder(cache_dir, fingerprint)
    folder.mkdir(parents=True, exist_ok=True)
    answer, size = folder / "precision.json", teacher.chunk_sentences or CHUNK_SENTENCES
    saved = ranks.of_first(lambda: _way_of_asking(answer, teacher, sentences, threads, task, size))
    if ranks.keeps_cache():
        write_sealed_json(answer, saved)
    precision, basis = saved["precision"], Basis.from_text(saved["hints"])
    classes, units = teacher.num_classes, basis.units if basis else 0
    asked = teacher.hinting(basis) if basis else teacher
    if asked is not teacher:
        teacher.release()  # it takes the teacher's place
    starts = range(0, len(sentences), size)
    files, seeds = _chunks(folder, teacher, sentences, starts, precision, basis)
    if ranks.keeps_cache():
        _find_elsewhere(files, cache_dir)

    def chunk_from(start: int, bar: Any) -> _Chunk:
        rows, number = np.arange(start, min(start + size, len(sentences))), start // size
        chunk = _Chunk.read(files[number], seeds[number], len(rows), classes, units)
        if chunk is None:
            answers = asked.logits(sentences.take(rows), bar.update, precision == "bf16", threads)
            _check_finite(answers[:, :classes], start, sentences, teacher, where)
            chunk = _Chunk(answers[:, :classes], packed(answers[:, classes:]))
            chunk.write(files[number], seeds[number])
            if teacher.chunk_sentences is None:
                trim_heap()  # it grows with every shape of a batch, however little of it is in use
        else:
            bar.update(len(rows))
            bar.initial += len(rows)  # found, not made: the rate is that of the sentences labelled now
        return chunk

    if ranks.count() > 1:
        counts = [min(size, len(sentences) - start) for start in starts]
        shared = SharedChunks(files, [_DIGEST_BYTES + count * (4 * classes + units) for count in counts])
        with progress_bar("labelling", sum(counts[number] for number in shared.own), "sentences") as bar:
            for number in shared.own:
                chunk_from(starts[number], bar)
        shared.exchange()
    if ranks.keeps_cache():
        with ExitStack() as files_at_once, progress_bar("labelling", len(sentences), "sentences") as bar:
            logits = files_at_once.enter_context(_array_file(folder / _LOGITS, "<f4", (len(sentences), classes)))
            hints = files_at_once.enter_context(_array_file(folder / _HINTS, "|i1", (len(sentences), units)))
            for start in starts:
                chunk = chunk_from(start, bar)
                logits.write(chunk.logits.tobytes())
                hints.write(chunk.hints.tobytes())
    ranks.wait("put together")
    asked.release()
    return Labels(_mapped(folder / _LOGITS), _mapped(folder / _HINTS) if units else None, precision, saved["check"],
                  checksum(fingerprint, precision, basis.key if basis else None))


def missing_bytes(teacher: Teacher, sentences: Sentences, cache_dir: Path, key: str) -> int:
    """Return the size of the chunks that `label` has yet to write; it maps the size of all, once a teacher."""
    if teacher.members:
        return sum(missing_bytes(one.teacher, sentences, cache_dir, key) for one in teacher.members)
    chunks = _folder(cache_dir, _fingerprint(teacher, sentences, key)).glob("chunk-*.bin")
    return max(bytes_of_answers(teacher) * len(sentences) - sum(chunk.stat().st_size for chunk in chunks), 0)


def bytes_of_answers(teacher: Teacher) -> int:
    """Return the size of what is kept of a teacher's answers to one sentence, at most."""
    return 4 * teacher.num_classes + HINT_UNITS * teacher.tells_hints


def _fingerprint(teacher: Teacher, sentences: Sentences, key: str) -> str:
    return checksum(LABELS_FORMAT, key, teacher.fingerprint_for(sentences), asdict(teacher.framing))


def _mean_labels(teacher: Teacher, sentences: Sentences, cache_dir: Path, key: str, threads: int,
                 where: Where | None, task: Task) -> Labels:
    """Return the mean of the logits of all members, each of which is cached by itself."""
    parts = []
    for member in teacher.members:
        _log.info("%s labels", member.name)
        parts.append(label(member.teacher, sentences, cache_dir, key, threads, where, task))
    columns = [member.columns for member in teacher.members]
    key = checksum([part.key for part in parts], columns)
    folder = _folder(cache_dir, key)
    folder.mkdir(parents=True, exist_ok=True)
    if ranks.keeps_cache():
        with _array_file(folder / _LOGITS, "<f4", (len(sentences), teacher.num_classes)) as file:
            for start in range(0, len(sentences), CHUNK_SENTENCES):
                chunk = [part.logits[start:start + CHUNK_SENTENCES, order] for part, order in zip(parts, columns)]
                file.write(np.mean(chunk, axis=0, dtype=np.float32).tobytes())
    ranks.wait("put together")
    checks = [part.check for part in parts if part.precision == "bf16"]
    worst = {name: (min if name == "agreement" else max)(check[name] for check in checks)
             for name in (checks[0] if checks else ())}
    hints = next((part.hints for part in parts if part.hints is not None), None)
    precision = " and ".join(sorted({part.precision for part in parts}))
    return Labels(_mapped(folder / _LOGITS), hints, precision, worst, key)


def _chunks(folder: Path, teacher: Teacher, sentences: Sentences, starts: range, precision: str,
            basis: Basis | None) -> tuple[list[Path], list[bytes]]:
    """Return the file of each chunk, and what its checksum begins with: all that its answers depend on.

    The file's name changes with that, too.
    """
    same = checksum(LABELS_FORMAT, precision, basis.key if basis else None, asdict(teacher.framing),
                    teacher.tokenizer.rust.to_str())
    keys = []
    for start in starts:
        part = sentences.take(np.arange(start, min(start + starts.step, len(sentences))))
        keys.append(checksum(same, teacher.fingerprint_for(part), *part.content))
    return [folder / f"chunk-{number:05d}-{key}.bin" for number, key in enumerate(keys)], list(map(str.encode, keys))


def _find_elsewhere(files: Sequence[Path], cache_dir: Path) -> None:
    """Take chunks that are missing from the labels of other sentences, where these begin alike."""
    missing = [file for file in files if not file.is_file()]
    kept = {file.name: file for file in Path(cache_dir).glob("labels-*/chunk-*")} if missing else {}
    found = [file for file in missing if file.name in kept]
    for file in found:
        try:
            os.link(kept[file.name], file)
        except OSError:  # a disk without links
            copy_whole(kept[file.name], file)
    if found:
        _log.info("%d of %d chunks have been labelled before, in another transfer set", len(found), len(files))


def _folder(cache_dir: Path, fingerprint: str) -> Path:
    return Path(cache_dir) / f"labels-{fingerprint}"


def _way_of_asking(path: Path, teacher: Teacher, sentences: Sentences, threads: int, task: Task,
                   chunk_sentences: int) -> dict[str, Any]:
    """Return the ``precision`` to label in, how bf16 compared as ``check``, and the basis of the ``hints`` as text.

    It is asked once, so that all chunks agree.
    """
    try:
        saved = read_sealed_json(path)
        Basis.from_text(saved["hints"])
        return {name: saved[name] for name in ("precision", "check", "hints")}
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, AttributeError):
        _log.warning("%s is damaged; whether bf16 does is asked again", path)
    if teacher.chunk_sentences is not None:
        return {"precision": "fp32", "check": {}, "hints": None}
    precision, check = _precision(teacher, sentences, threads, task)
    basis = _basis(teacher, sentences, threads, chunk_sentences) if teacher.tells_hints and len(sentences) else None
    return {"precision": precision, "check": check, "hints": basis and basis.to_text()}


def _sample(sentences: Sentences, most: int) -> Sentences:
    """Return some of the first ``most`` sentences, evenly spaced."""
    count = min(most, len(sentences))
    return sentences.take(np.unique(np.linspace(0, count - 1, min(_CHECK_SENTENCES, count)).astype(np.int64)))


def _basis(teacher: Teacher, sentences: Sentences, threads: int, chunk_sentences: int) -> Basis | None:
    """Return what makes hints of the teacher's hidden states.

    It depends on the first chunk alone, so that transfer sets that begin alike have chunks in common.
    """
    teacher.release()  # another program takes its place
    hinting = teacher.hinting()
    states = hinting.logits(_sample(sentences, chunk_sentences), threads=threads)[:, teacher.num_classes:]
    hinting.release()
    return Basis.of(states)


def _precision(teacher: Teacher, sentences: Sentences, threads: int, task: Task) -> tuple[str, dict[str, Any]]:
    """Return the precision to label in and how bf16 compared."""
    sample = _sample(sentences, len(sentences))
    expected = teacher.logits(sample, threads=threads)
    network, read = teacher.asked(sample)
    if network.model_file is not None:
        _check_padding(network.engine(threads=threads), read, network)
    if len(expected) > 1 and np.ptp(expected, axis=0).max() < _CONSTANT_SPREAD:
        _log.warning("THE TEACHER ANSWERS THE SAME TO EVERY SENTENCE: %s on all of %d; check that its checkpoint is "
                     "fine-tuned and that the tokenizer files are its own", np.round(expected[0], 3).tolist(),
                     len(expected))
    precision, check = "fp32", {}
    if teacher.has_bf16 and len(sentences) > _CHECK_SENTENCES and has_fast_bf16() and not runs_on_gpu():
        check = compare(expected, teacher.logits(sample, bf16=True, threads=threads), task)
        if close_enough(check, spread=float(expected.std(axis=0).mean())):
            precision = "bf16"
        else:
            _log.warning("labelling in fp32: in bf16 the teacher's logits move by %.3f on average and %.2f %% of its "
                         "labels stay the same", check["mean_difference"], 100 * check["agreement"])
    return precision, check


def compare(expected: np.ndarray, other: np.ndarray, task: Task) -> dict[str, Any]:
    """Compare two ``[n, classes]`` arrays of logits: ``max_difference``, ``mean_difference``, ``agreement``."""
    difference = np.abs(expected - other)
    return {"sentences": len(expected), "max_difference": float(difference.max()),
            "mean_difference": float(difference.mean()),
            "agreement": task.kept_by_rounding(expected, other)}


def close_enough(check: dict[str, Any], spread: float) -> bool:
    """Return whether logits that ``compare`` as ``check`` do for training; ``spread`` is the logits' deviation.

    99.9 % of the labels must agree; a sample may fall short of that by what chance explains, 6 of 2,000.
    """
    expected = check["sentences"] * (1 - _MIN_AGREEMENT)
    changed = check["sentences"] * (1 - check["agreement"])
    return (round(changed) <= expected + _CHANCE * expected ** 0.5
            and check["mean_difference"] <= _MAX_RELATIVE_DIFFERENCE * spread)


def _check_padding(model: Engine, sample: Sentences, teacher: Teacher) -> None:
    """Warn of a teacher whose logits depend on the padding; one of fixed width is always padded."""
    framing, most = teacher.framing, teacher.max_length or np.inf
    if framing.width is not None:
        return
    shortest = np.argmin(sample.lengths, keepdims=True)
    alone = framing.batch(sample, shortest)
    extra = ((0, 0), (0, int(min(_EXTRA_PADDING, most - alone[0].shape[1]))))
    padded = [np.pad(array, extra, constant_values=framing.pad_id if feed.role == IDS else 0)
              for feed, array in zip(framing.feeds, alone)]
    change = np.abs(model.run(*padded) - model.run(*alone)).max()
    if change > _MAX_PADDING_CHANGE:
        _log.warning("the teacher's logits change by %.2g when a sentence is padded with %s, so its labels are "
                     "a little off: it was exported without a mask made from the padding, or rounds numbers by what "
                     "a batch holds, as dynamic int8 does", change, teacher.tokenizer.vocab[framing.pad_id])


def _check_finite(chunk: np.ndarray, start: int, sentences: Sentences, teacher: Teacher, where: Where | None) -> None:
    bad = np.flatnonzero(~np.isfinite(chunk).all(axis=1))
    if len(bad):
        row = start + int(bad[0])
        text = teacher.tokenizer.decode(sentences[row][:20])
        source = f", made from {where(np.array([row]))}" if where else ""
        raise UserError(f"the teacher answers {chunk[bad[0]].tolist()} to sentence {row} of the transfer set "
                        f"({text!r}{source}); its checkpoint is damaged or overflows, use a sound one")


@contextmanager
def _array_file(path: Path, dtype: str, shape: tuple[int, int]) -> Iterator[BinaryIO]:
    """Yield a file to write an array's content to, row by row; ``path`` is there once all is written."""
    with whole_file(path) as partial, open(partial, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
        yield file


def _mapped(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


class _Chunk(NamedTuple):
    """What a teacher answers to some sentences: logits float32 ``[n, classes]``, hints int8 ``[n, units]``."""

    logits: np.ndarray
    hints: np.ndarray

    def write(self, path: Path, seed: bytes) -> None:
        data = np.ascontiguousarray(self.logits, "<f4").tobytes() + self.hints.tobytes()
        with whole_file(path) as partial:
            partial.write_bytes(_digest(seed, data) + data)

    @classmethod
    def read(cls, path: Path, seed: bytes, rows: int, classes: int, units: int) -> _Chunk | None:
        """Return the chunk, or None where it has to be made."""
        if not path.is_file():
            return None
        content = path.read_bytes()
        digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if len(data) != rows * (4 * classes + units) or _digest(seed, data) != digest:
            _log.warning("%s is damaged; its %d sentences are labelled again", path, rows)
            return None
        values = rows * classes
        return cls(np.frombuffer(data, "<f4", values).reshape(rows, classes),
                   np.frombuffer(data, "|i1", offset=4 * values).reshape(rows, units))


def _digest(seed: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES, key=hashlib.sha256(seed).digest()).digest()
