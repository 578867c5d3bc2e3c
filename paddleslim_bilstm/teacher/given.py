"""Teachers that are no model at hand: answers that others have given, and a function in Python."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np
import paddle

from ..augment import TransferSet
from ..config import Config
from ..config.schema import TOKENS, StudentConfig
from ..errors import UserError, short
from ..scopes import dynamic_mode
from ..storage import checksum
from ..text import Dataset
from ..text.rows import Text
from ..tokens import Sentences, Tokenizer, load_tokenizer
from ..tokens.word_level import write_word_tokenizer
from ..users_code import content_of
from .label_files import SETTING, GivenAnswers, LabelTable, missing_note
from .spelling import Speller
from .teacher import Teacher

_log = logging.getLogger(__name__)

TEXTS_PER_CALL = 256
_MOST_ANSWERED = 0.95  # of the texts: where fewer are, it is told on the screen, too
_SHOWN = 4  # names of what a function holds, in a message

# function(texts, or pairs of texts) -> logits [n, classes]; of one output [n] will do
LogitsOfTexts = Callable[[Sequence[Text]], Any]


def tokenizer_of(settings: Config, data: Dataset, given: Path | None, folder: Path) -> Tokenizer:
    """Return the tokenizer of a run without a teacher's model: one that is given, or one of words.

    Args:
        given: its folder.
        folder: where else a tokenizer of the training text's words is written.

    Raises:
        UserError: it can't be read or does without the setting min_count, or no word occurs often enough.
    """
    student = settings.distill.student
    if given is not None:
        if student.vocabulary == TOKENS and student.min_count != StudentConfig().min_count:
            raise UserError(f"bert_to_bilstm.student.min_count: is of a vocabulary of words, and this student reads "
                            f"the tokens of {given}; remove it, or set vocabulary: words")
        return load_tokenizer(given)
    write_word_tokenizer([*data.train_texts, *data.unlabeled_texts], student.min_count, folder)
    return load_tokenizer(folder)


@dataclass(frozen=True)
class GivenLabels(Teacher):
    """Answers from files; NaN to a sentence that has none."""

    table: LabelTable

    @classmethod
    def of(cls, answers: GivenAnswers, tokenizer: Tokenizer, label_names: Sequence[str]) -> GivenLabels:
        """Return the teacher that gives ``answers``; ``label_names`` are the run's.

        Raises:
            UserError: an answer is none of these, or a text has two.
        """
        table = answers.table(label_names)
        return cls(tokenizer, len(label_names), tuple(label_names), tokenizer.framing, None,
                   checksum(table.hashes, table.logits), table)

    def logits(self, sentences: Sentences, progress: Callable[[int], object] | None = None, bf16: bool = False,
               threads: int | None = None) -> np.ndarray:
        if progress is not None:
            progress(len(sentences))
        return self.table.logits_of(sentences)

    def answered(self, transfer: TransferSet, dev: Sentences) -> tuple[TransferSet, tuple[str, ...]]:
        """Return the sentences of the transfer set that have an answer, and notes for the report.

        Raises:
            UserError: none has, or there are answers to other texts than these and ``dev``.
        """
        self.table.check_known(transfer.sentences, dev)
        has_answer = ~np.isnan(self.logits(transfer.sentences)).any(axis=1)
        if not has_answer.any():
            raise UserError(f"{SETTING}: answers no text of the transfer set, only of the dev set; label the parts of "
                            "the transfer set, too")
        if has_answer.all():
            return transfer, self.table.notes
        rows = np.flatnonzero(has_answer)
        if len(rows) < _MOST_ANSWERED * len(has_answer):
            _log.warning("%s: %s Answer these, too, or leave DataAugmentation as it was when the texts were written",
                         SETTING, missing_note(has_answer))
        counts = {**transfer.counts, "without an answer": len(has_answer) - len(rows)}
        return (replace(transfer, sentences=transfer.sentences.take(rows), source=transfer.source[rows], counts=counts,
                        key=checksum(transfer.key, rows)), (*self.table.notes, missing_note(has_answer)))


@dataclass(frozen=True)
class FunctionTeacher(Teacher):
    """A function that is given texts, `TEXTS_PER_CALL` a call at most, in Paddle's dynamic mode.

    Its attribute ``fingerprint``, a text, tells its versions apart; without one the source of its module does, with
    the arrays, numbers, texts and functions that it holds. Its attribute ``label_names`` names the columns, where they
    aren't in the order of the data's labels.
    """

    function: LogitsOfTexts
    speller: Speller = field(repr=False)

    chunk_sentences = TEXTS_PER_CALL

    @classmethod
    def of(cls, function: LogitsOfTexts, tokenizer: Tokenizer, label_names: Sequence[str]) -> FunctionTeacher:
        """Return the teacher that asks ``function``; ``label_names`` are the run's."""
        return cls(tokenizer, len(label_names), tuple(label_names), tokenizer.framing, None,
                   checksum("function", *_version_of(function)), function, Speller(tokenizer))

    def reading(self, sentences: Sentences, texts: Sequence[Any] | None) -> FunctionTeacher:
        return replace(self, speller=self.speller.knowing(sentences, texts))

    def fingerprint_for(self, sentences: Sentences) -> str:
        return checksum(self.fingerprint, self.speller.known(sentences))

    def logits(self, sentences: Sentences, progress: Callable[[int], object] | None = None, bf16: bool = False,
               threads: int | None = None) -> np.ndarray:
        """Return the function's answers, float32 ``[n, classes]``.

        Raises:
            UserError: it fails, or answers something else; the message names the text.
        """
        answers = np.empty((len(sentences), self.num_classes), np.float32)
        for start in range(0, len(sentences), TEXTS_PER_CALL):
            rows = np.arange(start, min(start + TEXTS_PER_CALL, len(sentences)))
            answers[rows] = self._ask(self.speller.spell(sentences.take(rows)))
            if progress is not None:
                progress(len(rows))
        return answers

    def _ask(self, texts: list[Text]) -> np.ndarray:
        asked = f"{len(texts)} texts, the first {short(repr(texts[0]))}"
        try:
            with dynamic_mode(), paddle.no_grad():  # a job of ours is in static mode
                answer = self.function(list(texts))  # it may change its list
        except Exception as error:  # somebody's own code: anything can come out
            raise UserError(f"teacher: your function fails on {asked} ({type(error).__name__}: {error}); mend it and "
                            "start again: what it has answered is kept") from error
        try:
            logits = np.asarray(answer, np.float32)
        except Exception:  # a tensor's own, such as torch's of one that is to be differentiated
            raise UserError(f"teacher: your function answers {short(repr(answer))} to {asked}; it must be numbers "
                            f"[{len(texts)}, {self.num_classes}]") from None
        if logits.shape == (len(texts),) and self.num_classes == 1:
            logits = logits[:, None]
        if logits.shape != (len(texts), self.num_classes):
            raise UserError(f"teacher: your function answers with the shape {list(logits.shape)} to {asked}; it must "
                            f"be [{len(texts)}, {self.num_classes}], a logit for each of {', '.join(self.label_names)}")
        bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if len(bad):
            raise UserError(f"teacher: your function answers {logits[bad[0]].tolist()} to "
                            f"{short(repr(texts[bad[0]]))}; it must be finite numbers")
        return logits


def _version_of(function: LogitsOfTexts) -> list[Any]:
    """Return what tells versions of a user's function apart; a warning names what does not."""
    version = getattr(function, "fingerprint", None)
    if version is not None:
        return [str(version)]
    content, unseen = content_of(function)
    if unseen:
        _log.warning("teacher: the cache can't see what your function holds as %s; where that changes, start again "
                     "with another text in the function's attribute fingerprint", ", ".join(unseen[:_SHOWN]))
    return content
