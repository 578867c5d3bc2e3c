"""The corpus that is augmented, and what hooks may ask of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Sequence

import numpy as np

from ..progress import progress_bar
from ..tokens import Sentences, Tokenizer
from .speech import (
    ChineseTagger,
    EnglishTagger,
    PosTable,
    Spelling,
    Tagger,
    build_pos_table,
    is_chinese,
    join_chinese_words,
)
from .words import part_of

_SAMPLE_ROWS = 200  # sentences that the language is guessed from


@dataclass(frozen=True)
class Corpus:
    """The original sentences with their tokenizer; made by ``Corpus.create``.

    Attributes:
        sentences: the originals; ``word_starts`` mark whole words, Chinese ones too. Of a corpus of pairs: their sides,
            first and second in turn.
        tokenizer: the teacher's tokenizer (``mask_id``, ``vocab``, ...).
        texts: the texts behind ``sentences``, row by row; None where only token ids came.
        tagger: the part-of-speech tagger.
        pairs: whether ``sentences`` are sides of pairs.
        chinese: whether jieba has put Chinese words together.
        first: set for hooks: sentence ``i`` that a hook gets was made from ``sentences[first + i]``.
    """

    sentences: Sentences
    tokenizer: Tokenizer
    texts: Sequence[str] | None
    tagger: Tagger
    pairs: bool = False
    chinese: bool = False
    first: int = 0
    _once: dict = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def create(cls, sentences: Sentences, tokenizer: Tokenizer,
               texts: Sequence[str] | Sequence[tuple[str, str]] | None = None, tagger: Tagger | None = None) -> Corpus:
        """Return the corpus of ``sentences``; where it is mostly Chinese, characters are joined to jieba's words.

        ``texts`` are pairs where ``sentences`` are. Without them words are put together from the vocabulary's pieces.
        Without ``tagger`` it is chosen by language: ``EnglishTagger`` or ``ChineseTagger``.
        """
        if texts is not None and len(texts) != len(sentences):
            raise ValueError(f"{len(texts)} texts for {len(sentences)} sentences")
        pairs = sentences.pairs
        if pairs:
            sentences = sentences.sides()
            texts = None if texts is None else [text for pair in texts for text in pair]
        spelling = Spelling(sentences, tokenizer, texts)
        sample = np.arange(min(_SAMPLE_ROWS, len(sentences)))
        chinese = is_chinese("".join("".join(words) for words in spelling.words(sample)))
        if chinese:
            with progress_bar("segment Chinese words", len(sentences), "sentences") as bar:
                sentences = join_chinese_words(sentences, spelling, bar.update)
        return cls(sentences, tokenizer, texts, tagger or (ChineseTagger() if chinese else EnglishTagger()),
                   pairs, chinese)

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def originals(self) -> Sentences:
        """What is augmented: the sentences, or the pairs."""
        return Sentences.from_sides(self.sentences) if self.pairs else self.sentences

    def part(self, first: int, last: int) -> tuple[Sentences, Corpus]:
        """Return sentences ``first`` to ``last`` (not included), read-only, and the corpus as their hooks see it."""
        return part_of(self.sentences, first, last), replace(self, first=first)

    @property
    def pos_table(self) -> PosTable:
        """The words of the corpus by part-of-speech tag; made at the first call."""
        if "pos_table" not in self._once:
            spelling = Spelling(self.sentences, self.tokenizer, self.texts)
            self._once["pos_table"] = build_pos_table(self.sentences, spelling, self.tagger)
        return self._once["pos_table"]
