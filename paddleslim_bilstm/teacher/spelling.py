"""Sentences of tokens as text, for teachers that read text: originals as written, others from their tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Sequence

import numpy as np

from ..augment.words import find_hashes, row_hashes
from ..text import Text
from ..tokens import Sentences, Tokenizer
from ..tokens.pieces import CONTINUES

_ROWS_PER_CALL = 50_000
_CUT_LETTER = "\ufffd"  # for bytes that are none
_WIDE = "\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"  # Chinese characters and punctuation
_SPACE_AT_WIDE = re.compile(f"(?<=[{_WIDE}]) | (?=[{_WIDE}])")


@dataclass(frozen=True)
class Speller:
    """Spells sentences of ``tokenizer``'s tokens.

    Example:
        >>> speller = Speller(tokenizer).knowing(tokenizer.encode(["A Good film"]), ["A Good film"])
        >>> speller.spell(tokenizer.encode(["a good film", "a film"]))
        ['A Good film', 'a film']
    """

    tokenizer: Tokenizer
    _hashes: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64), repr=False)
    _texts: np.ndarray = field(default_factory=lambda: np.empty(0, object), repr=False)

    def knowing(self, sentences: Sentences, texts: Sequence[Text] | None) -> Speller:
        """Return a speller that also knows ``texts``, of which ``sentences`` are the tokens, whole or cut."""
        if texts is None or not len(sentences):
            return self
        hashes, first = np.unique(np.concatenate([self._hashes, row_hashes(sentences)]), return_index=True)
        return Speller(self.tokenizer, hashes, np.concatenate([self._texts, _objects(texts)])[first])

    def spell(self, sentences: Sentences) -> list[Text]:
        """Return the text, or pair of texts, of each sentence.

        Sentences that are known come back as they were written, the first text of equal tokens; of others the tokens
        are put together: as the tokenizer normalises text, with its mask token where masking has put one, without the
        marks of pieces whose word was cut off, without spaces between Chinese characters, and without the rest of a
        letter of which bytes were cut off.
        """
        known, known_texts = self._found(sentences)
        texts = np.empty(len(sentences), object)
        texts[known] = known_texts
        unknown = np.flatnonzero(~known)
        for start in range(0, len(unknown), _ROWS_PER_CALL):
            rows = unknown[start:start + _ROWS_PER_CALL]
            texts[rows] = _objects(self._decoded(sentences.take(rows)))
        return texts.tolist()

    def known(self, sentences: Sentences) -> list[Text]:
        """Return the texts, or pairs of texts, of those sentences that are known; the others their tokens spell."""
        return self._found(sentences)[1].tolist()

    def _found(self, sentences: Sentences) -> tuple[np.ndarray, np.ndarray]:
        """Return which sentences are known, bool ``[n]``, and the texts of these."""
        place, known = find_hashes(self._hashes, row_hashes(sentences))
        return known, self._texts[place[known]]

    def _decoded(self, sentences: Sentences) -> list[Text]:
        if sentences.pairs:
            sides = self._decoded(sentences.sides())
            return list(zip(sides[::2], sides[1::2]))
        if self.tokenizer.pieces.marks_spaces:
            return [self.tokenizer.pieces.spell(ids.tolist()).replace(_CUT_LETTER, "").strip() for ids in sentences]
        tokens = self._bare(sentences)
        texts = self.tokenizer.rust.decode_batch([tokens[start:end].tolist() for start, end in zip(
            sentences.offsets[:-1], sentences.offsets[1:])], skip_special_tokens=False)
        return [(text if text.isascii() else _SPACE_AT_WIDE.sub("", text)).removeprefix(CONTINUES) for text in texts]

    def _bare(self, sentences: Sentences) -> np.ndarray:
        """Return the tokens with ``ing`` for ``##ing`` where a word begins, or ends what was cut off before it."""
        begins = sentences.word_starts.copy()
        begins[sentences.offsets[:-1][sentences.lengths > 0]] = True
        return np.where(begins, self._without_mark[sentences.tokens], sentences.tokens)

    @cached_property
    def _without_mark(self) -> np.ndarray:
        """Of each token the one that begins a word with the same letters, or itself where there is none."""
        ids = {token: number for number, token in enumerate(self.tokenizer.vocab)}
        return np.array([ids.get(token.removeprefix(CONTINUES), number)
                         for number, token in enumerate(self.tokenizer.vocab)], np.int32)


def _objects(texts: Sequence[Text]) -> np.ndarray:
    """Return an array of texts or of pairs, of which ``np.array`` would make columns."""
    array = np.empty(len(texts), object)
    for place, text in enumerate(texts):
        array[place] = text
    return array
