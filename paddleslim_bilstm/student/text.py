"""The text of a run as the student reads it: the teacher's tokens, or words."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ..augment import Corpus, TransferSet
from ..config import Config
from ..config.schema import WORDS
from ..errors import UserError
from ..teacher.text import TrainingText
from ..tokens import Framing, Sentences
from .vocabulary import TokenVocabulary, WordVocabulary, build_word_vocabulary, cut_vocabulary

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudentText:
    """Sentences as the student reads them, row by row those of the run.

    Attributes:
        vocabulary: what the student reads; feeds them to it.
        train: the originals.
        transfer: the transfer set.
        dev: the sentences on which models are compared.
        counts, notes: for the report.
    """

    vocabulary: TokenVocabulary | WordVocabulary
    train: Sentences
    transfer: Sentences
    dev: Sentences
    counts: dict[str, int]
    notes: tuple[str, ...] = ()


def student_text(settings: Config, text: TrainingText, corpus: Corpus, transfer_set: TransferSet,
                 framing: Framing) -> StudentText:
    """Return the text of the run as the student that ``settings`` ask for reads it; ``framing`` is the teacher's.

    Raises:
        UserError: words of sentence pairs, or no word occurs often enough.
    """
    if settings.distill.student.vocabulary != WORDS:
        token_map = cut_vocabulary(corpus.tokenizer, transfer_set.sentences)
        return StudentText(TokenVocabulary(corpus.tokenizer, framing, token_map), text.train, transfer_set.sentences,
                           text.dev, {})
    if corpus.pairs:
        raise UserError("bert_to_bilstm.student.vocabulary: words is for single sentences, and these are pairs; leave "
                        "it out")
    words = build_word_vocabulary(corpus.sentences, corpus.tokenizer, corpus.chinese,
                                  settings.distill.student.min_count)
    train, dev = words.rows_of_words(corpus.sentences), words.rows_of(text.dev, text.dev_texts)
    unknown = float((dev.tokens == 0).mean()) if len(dev.tokens) else 0.0
    note = (f"The student reads {len(words.words):,} words of its own (words.txt); {100 * unknown:.1f} % of the words "
            "of the dev set are not among them.")
    _log.info("%s", note)
    return StudentText(words, train, words.rows_of_words(transfer_set.sentences), dev,
                       {"student_words": len(words.words)}, (note,))
