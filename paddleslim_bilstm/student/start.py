"""The student before its training: what it is, the weights that it starts from, and the run's text as it reads it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from ..augment import TransferSet
from ..config import Config
from ..config.schema import WORDS
from ..errors import UserError
from ..task import task_named, task_of_outputs
from ..teacher import Teacher
from ..teacher.text import TrainingText
from ..tokens import Sentences
from .embeddings import first_embedding
from .spec import StudentSpec
from .vocabulary import TokenVocabulary, WordVocabulary, build_word_vocabulary, cut_vocabulary
from .weights import Weights, first_weights

_log = logging.getLogger(__name__)

_WORD_VECTORS = 2  # sets the random stream of their missing words apart from those of weights and batches


@dataclass(frozen=True)
class StudentText:
    """Sentences as the student reads them, row by row those of the run: the teacher's tokens, or words.

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


@dataclass(frozen=True)
class Student:
    """An untrained student.

    Attributes:
        spec: what it is.
        first: the weights that it starts from.
        text: what it reads.
        notes: for the report.
    """

    spec: StudentSpec
    first: Weights
    text: StudentText
    notes: tuple[str, ...] = ()


def start_student(settings: Config, teacher: Teacher, text: TrainingText, transfer_set: TransferSet) -> Student:
    """Return the student that the settings ask for, with the teacher's embeddings or those that they name.

    Raises:
        UserError: words of sentence pairs, no word occurs often enough, or the word vectors can't be read.
    """
    sizes, seed = settings.distill.student, settings.global_.seed
    own = student_text(settings, teacher, text, transfer_set)
    vocabulary = own.vocabulary
    told = task_of_outputs(len(text.label_names)) is task_named(settings.global_.task)
    spec = StudentSpec(sizes.embed_dim, sizes.hidden_size, sizes.num_layers, text.label_names, vocabulary.pad_id,
                       settings.global_.max_seq_length, own.transfer.pairs, vocabulary.kind, sizes.pooling,
                       vocabulary.feeds, vocabulary.width, vocabulary.sep_id, vocabulary.separators, sizes.encoder,
                       None if told else settings.global_.task)
    of_rows = None if teacher.embeddings is None else vocabulary.embeddings(teacher.embeddings)
    embedding, notes = first_embedding(sizes.embeddings, vocabulary.words, of_rows, spec.embed_dim,
                                       np.random.default_rng([seed, _WORD_VECTORS]))
    first = first_weights(spec, vocabulary.token_map, embedding, np.random.default_rng(seed))
    return Student(spec, first, own, (*own.notes, *notes))


def student_text(settings: Config, teacher: Teacher, text: TrainingText, transfer_set: TransferSet) -> StudentText:
    """Return the text of the run as the student reads it.

    Raises:
        UserError: words of sentence pairs, or no word occurs often enough.
    """
    corpus = transfer_set.corpus
    if settings.distill.student.vocabulary != WORDS:
        token_map = cut_vocabulary(corpus.tokenizer, transfer_set.sentences)
        return StudentText(TokenVocabulary(corpus.tokenizer, teacher.framing, token_map), text.train,
                           transfer_set.sentences, text.dev, {})
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
