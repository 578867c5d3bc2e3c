"""How a vocabulary spells words: which piece begins one, and how pieces join."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import Collection, Sequence

import numpy as np

CONTINUES = "##"  # in front of WordPiece's pieces that begin no word
SPACE = "\u2581"  # SentencePiece's sign for a space
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def _letters_of_bytes() -> dict[str, int]:
    """Return the letter with which byte-level BPE writes each byte: itself if it can be seen, else one from 256 on."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {chr(code): byte for byte, code in zip(seen + unseen, [*seen, *range(256, 256 + len(unseen))])}


_BYTE_OF = _letters_of_bytes()


@dataclass(frozen=True)
class Pieces:
    """WordPiece's vocabulary, in which ``##`` marks what goes on with a word; other kinds derive from it.

    Attributes:
        vocab: the tokens by id.
        unk_id: stands for part of a word.
        special: ids of tokens that are words of their own, such as the mask.
    """

    vocab: Sequence[str]
    unk_id: int
    special: Collection[int]

    marks_spaces = False

    def word_starts(self, tokens: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Return where words begin in sentences, ``tokens[offsets[i]:offsets[i + 1]]`` each, by their tokens alone."""
        return self._begins[tokens]

    def spell(self, ids: Sequence[int]) -> str:
        """Return a word as text: ``["play", "##ing"] -> "playing"``."""
        first, *rest = (self.vocab[token] for token in ids)
        return first + "".join(piece.removeprefix(CONTINUES) for piece in rest)

    @cached_property
    def _begins(self) -> np.ndarray:
        return np.array([not piece.startswith(CONTINUES) for piece in self.vocab], bool)


@dataclass(frozen=True)
class SpacedPieces(Pieces):
    """A vocabulary whose pieces hold the spaces of the text: SentencePiece's, where ``\u2581`` is one.

    A word begins behind a space and, as in BERT, before and behind punctuation and Chinese characters: ``good,`` is
    two words.
    """

    marks_spaces = True

    def word_starts(self, tokens: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        begins, ends, empty = self._edges
        starts = begins[tokens]
        starts[1:] |= ends[tokens[:-1]]
        starts[1:] &= ~empty[tokens[:-1]]  # a space alone begins the word behind it
        starts[offsets[:-1][np.diff(offsets) > 0]] = True
        return starts

    def spell(self, ids: Sequence[int]) -> str:
        """Return a word as text: ``["\u2581play", "ing"] -> "playing"``."""
        return b"".join(map(self._bytes.__getitem__, ids)).decode(errors="replace").strip()

    @cached_property
    def _bytes(self) -> list[bytes]:
        return [self._bytes_of(piece) for piece in self.vocab]

    def _bytes_of(self, piece: str) -> bytes:
        byte = _BYTE.fullmatch(piece)
        return bytes([int(byte[1], 16)]) if byte else piece.replace(SPACE, " ").encode(errors="replace")

    @cached_property
    def _edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each token whether a word begins with it, whether one ends with it, and whether it is a space alone."""
        begins, ends, empty = np.zeros((3, len(self.vocab)), bool)
        for token, data in enumerate(self._bytes):
            text = data.decode(errors="replace")
            begins[token] = text[:1].isspace() or _stands_alone(text[:1])
            ends[token] = _stands_alone(text[-1:])
            empty[token] = text.isspace()
        begins[[*self.special]] = ends[[*self.special]] = True
        begins[self.unk_id] = ends[self.unk_id] = False
        return begins, ends, empty


@dataclass(frozen=True)
class BytePieces(SpacedPieces):
    """Byte-level BPE's vocabulary, as RoBERTa's: a letter stands for a byte, ``\u0120`` for a space."""

    def _bytes_of(self, piece: str) -> bytes:
        if all(letter in _BYTE_OF for letter in piece):
            return bytes(map(_BYTE_OF.__getitem__, piece))
        return piece.encode(errors="replace")  # an added token is plain text


def pieces_of(model: str, vocab: Sequence[str], unk_id: int, special: Collection[int]) -> Pieces:
    """Return how ``vocab`` spells, by the kind of model that ``tokenizers`` calls so, and by the vocabulary itself."""
    kind = Pieces
    if model in ("BPE", "Unigram"):
        marks = {piece[:1] for piece in vocab}
        kind = SpacedPieces if SPACE in marks else BytePieces if "\u0120" in marks else Pieces
    return kind(vocab, unk_id, special)


def _stands_alone(letter: str) -> bool:
    """Tell whether BERT's tokenizer makes ``letter`` a word of its own: punctuation and Chinese characters."""
    if not letter or letter.isalnum() and letter < "\u3400":
        return False
    return ("!" <= letter <= "/" or ":" <= letter <= "@" or "[" <= letter <= "`" or "{" <= letter <= "~"
            or "\u3400" <= letter <= "\u4dbf" or "\u4e00" <= letter <= "\u9fff"
            or unicodedata.category(letter).startswith("P"))
