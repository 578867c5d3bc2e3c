"""How a vocabulary spells words: which piece begins one, and how pieces join."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import Collection, NamedTuple, Sequence

import numpy as np

CONTINUES = "##"  # in front of WordPiece's pieces that begin no word
SPACE = "\u2581"  # SentencePiece's sign for a space
_UNSPACED = re.compile("[\u3040-\u30ff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")  # kana, Thai, Lao, Burmese, Khmer
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

    def behind_space(self, tokens: np.ndarray) -> np.ndarray:
        """Return which tokens hold a space before their letters, bool; here none, spaces are no part of the tokens."""
        return np.zeros(len(tokens), bool)

    def spaced(self, tokens: np.ndarray) -> np.ndarray:
        """Return tokens that begin words as they stand behind other text; here they are the same."""
        return tokens

    def spell(self, ids: Sequence[int]) -> str:
        """Return a word as text: ``["play", "##ing"] -> "playing"``."""
        first, *rest = (self.vocab[token] for token in ids)
        return first + "".join(piece.removeprefix(CONTINUES) for piece in rest)

    def as_words(self, ids: Sequence[int]) -> list[str]:
        """Return what a list of words calls each token: a word that begins with it, else ``##`` and the rest of one."""
        return [self.vocab[token] for token in ids]

    @cached_property
    def _begins(self) -> np.ndarray:
        return np.array([not piece.startswith(CONTINUES) for piece in self.vocab], bool)


@dataclass(frozen=True)
class SpacedPieces(Pieces):
    """A vocabulary whose pieces hold the spaces of the text: SentencePiece's, where ``\u2581`` is one.

    A word begins behind a space and, as in BERT, before and behind punctuation and Chinese characters: ``good,`` is
    two words. What is one token is never parted: ``'t`` in RoBERTa's vocabulary.
    """

    marks_spaces = True

    def word_starts(self, tokens: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        edges = self._edges
        empty = edges.space[tokens]
        starts = edges.begins[tokens]
        starts[1:] |= edges.ends[tokens[:-1]]
        if edges.opens.any():  # a Chinese character in bytes: what stands behind its last one is a new word
            fresh = ~edges.goes_on[tokens]
            letter = np.maximum.accumulate(np.where(fresh, np.arange(len(tokens)), 0))
            starts[1:] |= fresh[1:] & edges.opens[tokens[letter[:-1]]]
        starts[1:] &= ~empty[:-1]  # a space alone begins the word behind it
        starts &= ~self._trailing(empty, offsets)  # and at a text's end belongs to the word before
        starts[offsets[:-1][np.diff(offsets) > 0]] = True
        return starts

    def behind_space(self, tokens: np.ndarray) -> np.ndarray:
        return self._edges.spaced[tokens]

    def spaced(self, tokens: np.ndarray) -> np.ndarray:
        """Return tokens that begin words as they stand behind other text.

        Example: ``Film`` at a text's beginning becomes ``\u0120Film``, where the vocabulary has that; else it stays.
        """
        return self._with_space[tokens]

    def spell(self, ids: Sequence[int]) -> str:
        """Return a word, or a text, as it is written: ``["\u2581play", "ing"] -> "playing"``."""
        return b"".join(map(self._bytes.__getitem__, ids)).decode(errors="replace").strip()

    def as_words(self, ids: Sequence[int]) -> list[str]:
        """Example: ``["\u2581play", "ing"] -> ["play", "##ing"]``."""
        words = [(token == self.unk_id or self._edges.begins[token], self.spell([token])) for token in ids]
        return [word if begins or _UNSPACED.match(word) else CONTINUES + word for begins, word in words]

    @cached_property
    def _bytes(self) -> list[bytes]:
        written = [self._bytes_of(piece) for piece in self.vocab]
        for token in self.special:
            written[token] = b" " + written[token]
        return written

    def _bytes_of(self, piece: str) -> bytes:
        byte = _BYTE.fullmatch(piece)
        return bytes([int(byte[1], 16)]) if byte else piece.replace(SPACE, " ").encode(errors="replace")

    @cached_property
    def _edges(self) -> _Edges:
        edges = _Edges(*np.zeros((6, len(self.vocab)), bool))
        for token, data in enumerate(self._bytes):
            text, cut = data.decode(errors="replace"), _chinese_cut_off(data)
            edges.spaced[token] = text[:1].isspace()
            edges.begins[token] = edges.spaced[token] or _stands_alone(text[:1]) or cut == data != b""
            edges.ends[token] = _stands_alone(text[-1:])
            edges.space[token] = text.isspace()
            edges.opens[token] = cut != b""
            edges.goes_on[token] = data[:1] != b"" and data[0] & 0xC0 == 0x80
        edges.begins[[*self.special]] = edges.ends[[*self.special]] = True
        edges.begins[self.unk_id] = edges.ends[self.unk_id] = False
        return edges

    @cached_property
    def _with_space(self) -> np.ndarray:
        """Of each token that begins with a letter or digit the one that has a space before it, else itself, int32."""
        ids = {data: token for token, data in reversed([*enumerate(self._bytes)])}
        return np.array([ids.get(b" " + data, token) if _is_of_word(data.decode(errors="replace")[:1]) else token
                         for token, data in enumerate(self._bytes)], np.int32)

    @staticmethod
    def _trailing(empty: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Return which tokens have only spaces behind them in their sentence and are spaces themselves, bool."""
        filled = np.append(np.flatnonzero(~empty), len(empty))
        following = filled[np.searchsorted(filled, np.arange(len(empty)))]
        return following >= np.repeat(offsets[1:], np.diff(offsets))


class _Edges(NamedTuple):
    """What each token is, bool ``[vocabulary]`` each.

    Attributes:
        spaced: begins with a space.
        begins, ends: a word begins, or ends, with it.
        space: is a space alone.
        opens: ends with the first bytes of a Chinese character.
        goes_on: begins with what is not the first byte of a character.
    """

    spaced: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    space: np.ndarray
    opens: np.ndarray
    goes_on: np.ndarray


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


def _is_of_word(letter: str) -> bool:
    return letter.isalnum() and not _stands_alone(letter)


def _chinese_cut_off(data: bytes) -> bytes:
    """Return the first bytes of a Chinese character, or punctuation mark, that ``data`` ends with but cuts off."""
    cut = data[-1:] if data[-1:] >= b"\xc0" else data[-2:]
    chinese = (b"\xe4" <= cut[:1] <= b"\xe9" or cut in (b"\xe3\x80", b"\xef\xbc") or b"\xe3\x90" <= cut < b"\xe4")
    return cut if chinese else b""
