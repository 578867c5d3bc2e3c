"""`Predictor`: a student's folder in, labels and probabilities out."""

from __future__ import annotations

from pathlib import Path
from typing import Collection, Sequence, Tuple, Union

import numpy as np

from ..errors import UserError
from ..student.spec import read_spec
from ..task import Answer
from ..text.rows import check_surrogates
from ..tokens import Framing, Sentences, load_tokenizer
from ..tokens.framing import TokenIds
from ..tokens.known_words import KnownWords
from .runtimes import Workers, batch_logits, onnx_logits, paddle_logits, sentence_logits

RUNTIMES = ("onnx-int8", "onnx", "paddle")
_MOST_THREADS = 1024
Text = Union[str, Tuple[str, str]]
_MODEL_FILES = {"onnx-int8": "model.int8.onnx", "onnx": "model.onnx", "paddle": "model.pdmodel"}


class Predictor:
    """Classifies (or scores) texts with the student in ``folder``, an output folder of `compress` or a copy of it.

    Loading reads ``student.json``, the tokenizer's files and one model; Paddle is imported only for the runtime
    ``paddle``. May be used from several threads at once, and pickled for other processes.

    Args:
        runtime: ``onnx-int8``, ``onnx`` or ``paddle``; by default the first of the two ONNX files that is there.
        threads: threads a prediction may use; for ONNX Runtime they share its texts, so a single text takes one.

    Raises:
        UserError: a file is missing or damaged, the runtime is none of these, ``threads`` is out of range, or the
            student reads Chinese words and jieba is not installed.

    Example:
        >>> Predictor("output/sst2").predict(["a gripping , funny film"])[0].label
        '1'
        >>> Predictor("output/mrpc").predict([("He left .", "He went away .")])[0].label
        '1'

    A text's answer doesn't depend on the texts beside it, in int8 neither: activations are rounded in fixed steps.
    """

    def __init__(self, folder: str | Path, runtime: str | None = None, threads: int = 1):
        if not 1 <= threads <= _MOST_THREADS:
            raise UserError(f"threads: is {threads}; it must be from 1 to {_MOST_THREADS}")
        folder = Path(folder)
        self._folder = folder.absolute()  # where it is even when the process stands elsewhere
        self._spec = read_spec(folder)
        self.runtime = _choose_runtime(folder, runtime)
        self.task = self._spec.task
        self.label_names = self._spec.label_names
        self.pairs = self._spec.pairs
        self._tokenizer = load_tokenizer(folder)
        self._known_words = KnownWords(self._tokenizer.rust)
        self._framing = Framing(self._spec.feeds, self._tokenizer.pad_id, self._tokenizer.cls_id,
                                self._tokenizer.sep_id, self._spec.width, self._spec.separators)
        self._words = None
        if self._spec.reads_words:
            from ..student.vocabulary import load_word_vocabulary  # here: few students need it
            self._words = load_word_vocabulary(folder, self._tokenizer, self._spec.vocabulary == "jieba")
        path = _model_file(folder, self.runtime)
        if self.runtime == "paddle":
            self._run = paddle_logits(path.with_suffix(""), threads)
        else:
            self._run = onnx_logits(path)
        self._threads = threads
        self._workers = Workers(1 if self.runtime == "paddle" else threads)
        self._check_model(path)

    def __reduce__(self) -> tuple:
        """Pickled, it is its folder, which is loaded anew wherever that is unpickled."""
        return type(self), (str(self._folder), self.runtime, self._threads)

    def predict(self, texts: Sequence[Text], batch_size: int = 16) -> list[Answer]:
        """Return a `Prediction` for each of ``texts``, in their order, or what the student's task has in its place.

        ``texts`` are pairs, ``(first, second)`` each, where the student reads pairs (``Predictor.pairs``).
        """
        return self.task.predictions(self.logits(texts, batch_size), self.label_names)

    def logits(self, texts: Sequence[Text], batch_size: int = 16) -> np.ndarray:
        """Return the logits of ``texts``, or pairs of texts, float32 ``[n, classes]``.

        Texts are cut to the student's ``max_seq_length`` and run in batches of similar length.

        Raises:
            TypeError: ``texts`` is no list of strings, or of pairs of strings.
            UserError: single sentences for a student of pairs or the other way round, a text has half of a surrogate
                pair, which is no character, or ``batch_size`` is below 1.
        """
        _check(texts, batch_size, self.pairs)
        texts = list(texts)
        if not len(texts):
            return np.empty((0, len(self.label_names)), np.float32)
        if self._words:
            sentences = self._words.encode([text.strip() for text in texts], self._spec.max_seq_length)
            return batch_logits(self._run, sentences, self._words, batch_size, self._workers)
        return sentence_logits(self._run, self._tokenize(texts), self._framing, self._spec.max_seq_length, batch_size,
                               self._workers)

    def _check_model(self, path: Path) -> None:
        """Try the model on the last token of the vocabulary: it must know it, and return a logit for each label."""
        vocabulary = self._words.words if self._words else self._tokenizer.vocab
        what = "words of words.txt" if self._words else "tokens of the tokenizer"
        last = Sentences.from_lists([[len(vocabulary) - 1]])
        try:
            shape = self._run(*(self._words or self._framing).batch(last, np.array([0]))).shape
        except Exception:  # each runtime raises its own
            raise UserError(f"{path}: doesn't know all {len(vocabulary)} {what} beside it; copy the whole output "
                            "folder again") from None
        if shape != (1, len(self.label_names)):
            raise UserError(f"{path}: answers {list(shape)} where student.json names {len(self.label_names)} labels; "
                            "copy the whole output folder again")

    def _tokenize(self, texts: Sequence[Text]) -> list[TokenIds]:
        flat = [side for pair in texts for side in pair] if self.pairs else texts
        sides = self._known_words.ids([side.strip() for side in flat], all_cores=self._threads > 1)  # as in training
        pad_id, sep_id, unk_id = self._tokenizer.pad_id, self._tokenizer.sep_id, self._tokenizer.unk_id
        if any(pad_id in ids for ids in sides):  # see `Tokenizer.encode`
            sides = [[token for token in ids if token != pad_id] for ids in sides]
        if not self.pairs:
            return sides
        if any(sep_id in ids for ids in sides):
            sides = [[unk_id if token == sep_id else token for token in ids] for ids in sides]
        return list(zip(sides[::2], sides[1::2]))


def _check(texts: Sequence[Text], batch_size: int, pairs: bool) -> None:
    items = "pairs of strings" if pairs else "strings"
    if isinstance(texts, str) or not isinstance(texts, Collection):
        raise TypeError(f"texts must be a list of {items}, not one {'string' if isinstance(texts, str) else texts!r}")
    if hasattr(texts, "columns"):  # of pandas, whose items are their names
        raise TypeError(f"texts must be a list of {items}, not a table; give its column of texts as a list")
    for position, text in enumerate(texts):
        is_pair = isinstance(text, (tuple, list)) and len(text) == 2 and all(isinstance(side, str) for side in text)
        if not is_pair and not isinstance(text, str):
            raise TypeError(f"texts[{position}] must be {'a pair of strings' if pairs else 'a string'}, not "
                            f"{type(text).__name__}")
        if is_pair != pairs:
            raise UserError(f"texts[{position}]: is {'a single sentence' if pairs else 'a pair'}, but this student "
                            f"reads {'pairs: give (first, second)' if pairs else 'single sentences: give one text'}")
        for side in text if is_pair else [text]:
            check_surrogates(side, f"texts[{position}]")
    if batch_size < 1:
        raise UserError(f"batch_size: is {batch_size}; it must be at least 1")


def _choose_runtime(folder: Path, runtime: str | None) -> str:
    if runtime is None:
        for candidate in ("onnx-int8", "onnx"):
            if (folder / _MODEL_FILES[candidate]).is_file():
                return candidate
        raise UserError(f"{folder}: neither model.int8.onnx nor model.onnx is there; name an output folder of "
                        "`paddleslim-bilstm compress`, or ask for the runtime paddle")
    if runtime not in RUNTIMES:
        raise UserError(f"runtime: {runtime!r} is none of {', '.join(RUNTIMES)}")
    if not (file := _model_file(folder, runtime)).is_file():
        raise UserError(f"{file}: no such file; choose another runtime ({', '.join(RUNTIMES)})")
    return runtime


def chosen_model(folder: str | Path, runtime: str | None) -> Path:
    """Return the file of the model that a `Predictor` with these arguments loads.

    Raises:
        UserError: there is none.
    """
    return _model_file(Path(folder), _choose_runtime(Path(folder), runtime))


def _model_file(folder: Path, runtime: str) -> Path:
    """Return the file of ``runtime``'s model; the Paddle model may be called as its teacher was."""
    programs = list(folder.glob("*.pdmodel")) if runtime == "paddle" else []
    return programs[0] if len(programs) == 1 else folder / _MODEL_FILES[runtime]
