"""The transfer set: the original sentences and their augmented variants, each distinct sentence once."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Sequence

import numpy as np

from ..errors import UserError
from ..progress import progress_bar
from ..storage import checksum, read_sealed_json, whole_folder, write_sealed_json
from ..tokens import Sentences
from .corpus import Corpus
from .registry import HookConfig, apply_hooks, full_params, hook_fingerprint
from .words import chunks_of, part_of, row_hashes

_FIRST, _SECOND = 0, 1  # the sides that change in turn: first, second, both


def change_in_turn(sides: Sentences, changed: Sentences, turn: int) -> Sentences:
    """Return ``n`` pairs in which the first side, the second, or both are the changed ones, in turn.

    Source: Tang et al. 2019 (arXiv 1903.12136), section 3.3. Pair ``i`` changes its first side where ``turn + i`` is a
    multiple of 3, its second where it is one more, else both; so ``turn`` counts the rounds, and within a round, too,
    all three are equally frequent.

    Args:
        sides, changed: the sides of the pairs, first and second in turn, ``2n`` sentences each.
    """
    number = np.arange(len(sides))
    mode = (turn + number // 2) % 3
    fixed = mode == np.where(number % 2, _FIRST, _SECOND)
    return Sentences.from_sides(Sentences.concatenate([sides, changed]).take(number + np.where(fixed, 0, len(sides))))


_FULLEST = 0.6  # share of used slots above which the table doubles
_BLOCK = 1 << 20  # slots moved at a time


class SeenHashes:
    """An open-addressing hash table of uint64 values; 8 bytes a slot, 14 to 27 bytes a value once it has grown."""

    def __init__(self) -> None:
        self._slots = np.zeros(1 << 16, np.uint64)  # 0 marks a free slot
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def add(self, hashes: np.ndarray) -> np.ndarray:
        """Add ``hashes`` (uint64 ``[n]``); return the indices, rising, of those that are new, the first of equals."""
        hashes = np.where(hashes == 0, np.uint64(1), hashes)
        unseen = np.flatnonzero(~self._contains(hashes))
        values, first = np.unique(hashes[unseen], return_index=True)
        while self._used + len(values) > _FULLEST * len(self._slots):
            old = self._slots
            self._slots = np.zeros(2 * len(old), np.uint64)
            for block in np.split(old, range(_BLOCK, len(old), _BLOCK)):
                self._insert(block[block != 0])
        self._insert(values)
        self._used += len(values)
        return np.sort(unseen[first])

    def _contains(self, hashes: np.ndarray) -> np.ndarray:
        found = np.zeros(len(hashes), bool)
        pending, places = np.arange(len(hashes)), self._places(hashes)
        while len(pending):
            values = self._slots[places]
            equal = values == hashes[pending]
            found[pending[equal]] = True
            onward = ~equal & (values != 0)
            pending, places = pending[onward], self._next(places[onward])
        return found

    def _insert(self, hashes: np.ndarray) -> None:
        """Insert distinct values that are not in the table."""
        places = self._places(hashes)
        while len(hashes):
            free = self._slots[places] == 0
            self._slots[places[free]] = hashes[free]  # of several for one slot one wins, the others go on
            lost = self._slots[places] != hashes
            hashes, places = hashes[lost], self._next(places[lost])

    def _places(self, hashes: np.ndarray) -> np.ndarray:
        return (hashes & np.uint64(len(self._slots) - 1)).astype(np.int64)

    def _next(self, places: np.ndarray) -> np.ndarray:
        return (places + 1) & (len(self._slots) - 1)


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


_FORMAT = 1  # of transfer sets: counts up when the same input would give another one
_SPACED_FORMAT = 2  # of those whose tokens hold spaces
_FILE = "transfer_set.json"
_ARRAYS = {"tokens": np.int32, "offsets": np.int64, "word_starts": np.bool_, "source": np.int32,
           "split": np.int64}  # no split: single sentences

log = logging.getLogger(__name__)


class Augmentation(Protocol):
    """The ``DataAugmentation`` section: rounds (None: what suits the text, see `rounds_of`), and hooks in order."""

    n_iter: int | None
    hooks: Sequence[HookConfig]


@dataclass(frozen=True)
class TransferSet:
    """What the teacher labels and the student learns from.

    Attributes:
        sentences: ``m`` distinct sentences, or pairs, the originals first; memory-mapped.
        source: index of the original sentence that each was made from, int32 ``[m]``.
        counts: ``originals``, ``made`` (all rounds, the originals included) and ``duplicates`` (removed of them).
        key: changes with anything that the transfer set depends on, see `transfer_set_fingerprint`.
        corpus: what it was made of; None where it was only loaded.
    """

    sentences: Sentences
    source: np.ndarray
    counts: dict[str, int]
    key: str
    corpus: Corpus | None = None


_TOKENS, _MOST_ROUNDS = 18_000_000, 100


def rounds_for(tokens: int) -> int:
    """Return how many rounds over a training text suit it, 1 to 100: those that make some 18 million tokens.

    So the teacher works about as long whatever the text, and little text is varied more.

    Args:
        tokens: of the training text, with special ones.
    """
    return min(max(round(_TOKENS / max(tokens, 1)), 1), _MOST_ROUNDS)


def rounds_of(corpus: Corpus, augmentation: Augmentation, max_tokens: int | None = None) -> int:
    """Return ``n_iter``, or without one what `rounds_for` says of the originals, cut to ``max_tokens``."""
    if augmentation.n_iter is not None:
        return augmentation.n_iter
    lengths = corpus.originals.lengths if max_tokens is None else np.minimum(corpus.originals.lengths, max_tokens)
    special = corpus.tokenizer.framing.special_tokens(corpus.pairs)
    return rounds_for(int(lengths.sum()) + special * len(lengths))


def build_transfer_set(corpus: Corpus, augmentation: Augmentation, seed: int, folder: str | Path,
                       max_tokens: int | None = None) -> TransferSet:
    """Make the transfer set in ``folder``, or load it from there when it is the same and sound.

    Round 0 are the originals; each of the rounds (`rounds_of`) passes every original through all hooks in order; of
    pairs the sides, of which one or both then change (`change_in_turn`). Results are cut to ``max_tokens``. Of equal
    token sequences the first is kept. The same corpus, augmentation and seed give the same files to the byte. Memory
    does not grow with the rounds, but for 14 to 27 bytes a distinct sentence.

    Raises:
        UserError: a hook's name, parameters or result is wrong.
    """
    folder = Path(folder)
    identity = transfer_set_fingerprint(corpus, augmentation, seed, max_tokens)
    if folder.exists():
        try:
            return replace(load_transfer_set(folder, identity), corpus=corpus)
        except UserError as error:
            log.warning("%s; it is made again", error)
    with whole_folder(folder) as partial:
        _write(corpus, augmentation, seed, max_tokens, partial, identity)
    return replace(load_transfer_set(folder, identity), corpus=corpus)


def load_transfer_set(folder: str | Path, identity: str | None = None) -> TransferSet:
    """Memory-map the transfer set in ``folder`` after checking every byte of it.

    Raises:
        UserError: it is not there, truncated, altered, or not the one with the fingerprint ``identity``.
    """
    folder = Path(folder)
    try:
        facts = read_sealed_json(folder / _FILE)
        if identity not in (None, facts["fingerprint"]):
            raise ValueError("it was made from other data or settings")
        arrays = {name: read_array(folder / f"{name}.npy", dtype, **facts["arrays"][name])
                  for name, dtype in _ARRAYS.items()}
        counts = {name: int(facts["counts"][name]) for name in ("originals", "made", "duplicates")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: not a sound transfer set ({_reason(error)})") from None
    sentences = Sentences(arrays["tokens"], arrays["offsets"], arrays["word_starts"],
                          arrays["split"] if len(arrays["split"]) else None)
    return TransferSet(sentences, arrays["source"], counts, facts["fingerprint"])


def transfer_set_fingerprint(corpus: Corpus, augmentation: Augmentation, seed: int,
                             max_tokens: int | None = None) -> str:
    """Return 32 hex digits that change with anything that the transfer set depends on.

    That is: tokens, words, texts, vocabulary and tagger; hooks with their parameters, and the modules of users' hooks;
    rounds, seed and length; our format and NumPy's version.

    Raises:
        UserError: a hook's name or parameters are wrong.
    """
    hooks = [[hook_fingerprint(hook.name), full_params(hook)] for hook in augmentation.hooks]
    texts = [] if corpus.texts is None else corpus.texts
    text_parts = [checksum("\0".join(texts[first:first + 100_000])) for first in range(0, len(texts), 100_000)]
    sentences = corpus.sentences
    return checksum(_SPACED_FORMAT if corpus.tokenizer.pieces.marks_spaces else _FORMAT,
                    sentences.tokens, sentences.offsets, sentences.word_starts, text_parts,
                    corpus.texts is None, corpus.pairs, corpus.tokenizer.vocab, corpus.tokenizer.mask_id,
                    corpus.tagger.name, hooks, rounds_of(corpus, augmentation, max_tokens), seed, max_tokens,
                    np.__version__)


def _write(corpus: Corpus, augmentation: Augmentation, seed: int, max_tokens: int | None, folder: Path,
           identity: str) -> None:
    originals = corpus.originals
    chunks = chunks_of(originals)
    rounds = rounds_of(corpus, augmentation, max_tokens)
    made = len(originals) * (rounds + 1)
    seen = SeenHashes()
    if rounds and len(corpus):  # one sentence or pair first: tables are made and mistakes show before the bar
        apply_hooks(augmentation.hooks, *corpus.part(0, 1 + corpus.pairs), np.random.default_rng(seed))
    with ArrayWriter(folder / "tokens.npy", np.int32) as tokens, \
            ArrayWriter(folder / "offsets.npy", np.int64) as offsets, \
            ArrayWriter(folder / "word_starts.npy", np.bool_) as word_starts, \
            ArrayWriter(folder / "source.npy", np.int32) as source, \
            ArrayWriter(folder / "split.npy", np.int64) as split, \
            progress_bar("augment", made, "sentences") as bar:
        offsets.append(np.zeros(1, np.int64))
        for round_ in range(rounds + 1):
            for number, (first, last) in enumerate(chunks):
                sentences = part_of(originals, first, last)
                if round_:
                    rng = np.random.default_rng([seed, round_, number])
                    sentences = _changed(corpus, first, last, augmentation.hooks, round_, rng)
                if max_tokens is not None:
                    sentences = sentences.truncate(max_tokens)
                new = seen.add(row_hashes(sentences))
                fresh = sentences.take(new)
                offsets.append(fresh.offsets[1:] + tokens.length)
                tokens.append(fresh.tokens)
                word_starts.append(fresh.word_starts)
                source.append(first + new)
                if corpus.pairs:
                    split.append(fresh.split)
                bar.update(last - first)
    arrays = {"tokens": tokens, "offsets": offsets, "word_starts": word_starts, "source": source, "split": split}
    write_sealed_json(folder / _FILE, {
        "fingerprint": identity,
        "counts": {"originals": len(originals), "made": made, "duplicates": made - source.length},
        "arrays": {name: {"length": array.length, "digest": array.digest} for name, array in arrays.items()},
    })


def _changed(corpus: Corpus, first: int, last: int, hooks: Sequence[HookConfig], round_: int,
             rng: np.random.Generator) -> Sentences:
    """Return what a round makes of the originals ``first`` to ``last``."""
    if not corpus.pairs:
        return apply_hooks(hooks, *corpus.part(first, last), rng)
    sides, view = corpus.part(2 * first, 2 * last)
    return change_in_turn(sides, apply_hooks(hooks, sides, view, rng), round_ - 1 + first)


_ATTEMPTS = 5  # to draw a change


def hook_samples(corpus: Corpus, hooks: Sequence[HookConfig], seed: int,
                 max_tokens: int) -> list[tuple[str, Sentences]]:
    """Return what each hook by itself makes of every original: name and sentences, or pairs; to be looked at.

    A sentence that a hook leaves as it is gets a few more chances; of pairs both sides may change.
    """
    originals, found = corpus.originals, []
    for number, hook in enumerate(hooks):
        attempts = []
        for attempt in range(_ATTEMPTS):
            made = apply_hooks([hook], *corpus.part(0, len(corpus)), np.random.default_rng([seed, number, attempt]))
            attempts.append((Sentences.from_sides(made) if corpus.pairs else made).truncate(max_tokens))
        changed = np.stack([row_hashes(one) for one in attempts]) != row_hashes(originals)
        rows = changed.argmax(axis=0) * len(originals) + np.arange(len(originals))
        found.append((hook.name, Sentences.concatenate(attempts).take(rows)))
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{Path(error.filename or '').name}: {error.strerror}"
    return f"{_FILE} is damaged" if isinstance(error, (KeyError, TypeError)) else str(error)
