"""What a student reads: the teacher's tokens, cut to those that occur, or words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Sequence

import numpy as np

from ..augment.speech import Spelling, join_chinese_words
from ..augment.words import chunks_of, find_hashes, part_of, sequence_hashes, word_spans
from ..errors import UserError
from ..storage import whole_file
from ..tokens import Framing, Sentences, Tokenizer
from ..tokens.word_level import no_common_word
from .spec import TEACHER_TOKENS, WORD_FEEDS, WORDS_FILE

_TOKENS_PER_BLOCK = 1 << 24
_RESERVED = re.compile(r"\[\w+\]|<\w*/?\w+>|<\|\w+\|>")  # [unused1], [CLS], <s>, </s>: no text has them


@dataclass(frozen=True)
class TokenVocabulary:
    """The teacher's tokens in the teacher's feeds; `WordVocabulary` is the other kind of vocabulary.

    Attributes:
        tokenizer: the teacher's.
        framing: how the teacher reads its tokens; so does the student that takes its place.
        token_map: the row of each token id, int32 ``[teacher vocabulary]``.
    """

    tokenizer: Tokenizer
    framing: Framing
    token_map: np.ndarray

    kind = TEACHER_TOKENS

    @property
    def feeds(self) -> tuple:
        return self.framing.feeds

    @property
    def width(self) -> int | None:
        return self.framing.width

    @property
    def pad_id(self) -> int:
        return self.framing.pad_id

    @property
    def sep_id(self) -> int:
        return self.framing.sep_id

    @property
    def separators(self) -> int:
        return self.framing.separators

    @property
    def words(self) -> list[str]:
        """The token of each row as word vectors call it: without the sign of the space before it."""
        return self.tokenizer.pieces.as_words(self._tokens.tolist())

    def batch(self, sentences: Sentences, index: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the sentences at ``index`` in the teacher's feeds, see `Framing.batch`."""
        return self.framing.batch(sentences, index)

    def special_tokens(self, pairs: bool) -> int:
        """Return how many special tokens the feeds hold beside those of a sentence or pair."""
        return self.framing.special_tokens(pairs)

    def embeddings(self, teacher_embeddings: np.ndarray) -> np.ndarray:
        """Return the teacher's embedding of each row, float32 ``[rows, teacher units]``."""
        return teacher_embeddings[self._tokens]

    def save(self, folder: str | Path) -> None:
        """Write nothing: the tokenizer's files are all that a predictor needs."""

    @property
    def _tokens(self) -> np.ndarray:
        return kept_tokens(self.token_map, self.tokenizer.unk_id)


def token_counts(sentences: Sentences, vocabulary: int) -> np.ndarray:
    """Return how often each of so many tokens occurs, int64 ``[vocabulary]``, without a copy of them all."""
    counts = np.zeros(vocabulary, np.int64)
    for start in range(0, len(sentences.tokens), _TOKENS_PER_BLOCK):
        counts += np.bincount(sentences.tokens[start:start + _TOKENS_PER_BLOCK], minlength=vocabulary)
    return counts


def cut_vocabulary(tokenizer: Tokenizer, sentences: Sentences, unseen: int = 0) -> np.ndarray:
    """Return the map from the teacher's token ids to the student's embedding rows.

    Rows are first those of the tokens that occur, then those of ``unseen`` others, both in the order of the ids; of
    these the first of the vocabulary, in most of them the commonest. All others share the row of ``[UNK]``.

    Returns:
        int32, shape ``[teacher vocabulary]``.

    Example: a vocabulary of 5 with ``[UNK]`` = 1, in which only 1, 3 and 4 occur: ``[0, 0, 0, 1, 2]``, and with one
    unseen token ``[3, 0, 0, 1, 2]``.
    """
    occurs = token_counts(sentences, len(tokenizer.vocab)) > 0
    occurs[tokenizer.unk_id] = True
    rows = np.cumsum(occurs, dtype=np.int32) - 1
    token_map = np.where(occurs, rows, rows[tokenizer.unk_id]).astype(np.int32)
    reserved = np.array([_RESERVED.fullmatch(token) is not None for token in tokenizer.vocab], bool)
    others = np.flatnonzero(~occurs & ~reserved)[:unseen]
    token_map[others] = occurs.sum() + np.arange(len(others))
    return token_map


def kept_tokens(token_map: np.ndarray, unk_id: int) -> np.ndarray:
    """Return the token id of each embedding row, int64, shape ``[rows]``."""
    tokens = np.zeros(int(token_map.max()) + 1, np.int64)
    tokens[token_map[::-1]] = np.arange(len(token_map))[::-1]  # ids that share a row: the smallest is written last
    tokens[token_map[unk_id]] = unk_id
    return tokens


UNKNOWN, MASK = "[UNK]", "[MASK]"  # the first two rows
_UNKNOWN_ROW, _MASK_ROW, _FIRST_WORD = 0, 1, 2


@dataclass(frozen=True)
class WordVocabulary:
    """The words that a student knows. It stands where others have the tokenizer: it turns text into feeds.

    A word is a group of the teacher's tokens, so it is normalised as they are (lower case, mostly), and what
    augmentation makes of a sentence has words without another tokenizer: a word with a mask token in it is ``[MASK]``,
    any group that the vocabulary lacks is ``[UNK]``.

    Attributes:
        words: by embedding row; `UNKNOWN` and `MASK` first.
        tokenizer: the teacher's.
        chinese: Chinese words are cut by jieba; else every Chinese character is a word.
    """

    words: tuple[str, ...]
    tokenizer: Tokenizer
    chinese: bool

    pad_id = _UNKNOWN_ROW  # what stands behind a sentence's end is not read
    feeds = WORD_FEEDS
    width = sep_id = None
    separators = 1

    @property
    def kind(self) -> str:
        """How `StudentSpec` calls it."""
        return "jieba" if self.chinese else "words"

    def encode(self, texts: Sequence[str], max_seq_length: int) -> Sentences:
        """Return the texts as rows, each cut to ``max_seq_length`` of the teacher's tokens first, as in training."""
        sentences = self.tokenizer.encode(texts)
        special = self.tokenizer.framing.special_tokens(sentences.pairs)
        return self.rows_of(sentences.truncate(max_seq_length - special), texts)

    def rows_of(self, sentences: Sentences, texts: Sequence[str] | None) -> Sentences:
        """Return sentences of the teacher's tokens as rows; ``texts`` are what they were made from, if known."""
        if self.chinese:
            sentences = join_chinese_words(sentences, Spelling(sentences, self.tokenizer, texts))
        return self.rows_of_words(sentences)

    def rows_of_words(self, sentences: Sentences) -> Sentences:
        """Return sentences whose ``word_starts`` mark whole words as rows: a "token" of the result is a row, int32."""
        parts = [self._rows_of_part(part_of(sentences, *chunk)) for chunk in chunks_of(sentences)]
        return Sentences.concatenate(parts or [Sentences.from_lists([], [])])

    def batch(self, sentences: Sentences, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sentences at ``index``, of rows, as the student reads them: ``word_ids`` and ``lengths``.

        int64 ``[len(index), longest]``, padded with 0, and int64 ``[len(index)]``.
        """
        return sentences.padded(index, self.pad_id), sentences.lengths_at(index)

    def special_tokens(self, pairs: bool) -> int:
        """None: a student of words reads the words alone."""
        return 0

    def embeddings(self, teacher_embeddings: np.ndarray) -> np.ndarray:
        """Return the mean of the teacher's embeddings of each word's tokens, float32 ``[rows, teacher units]``."""
        special = teacher_embeddings[[self.tokenizer.unk_id,
                                      self.tokenizer.unk_id if self.tokenizer.mask_id is None
                                      else self.tokenizer.mask_id]]
        sums = np.add.reduceat(teacher_embeddings[self._pieces.tokens], self._pieces.offsets[:-1], axis=0)
        return np.concatenate([special, sums / self._pieces.lengths[:, None]]).astype(np.float32)

    def save(self, folder: str | Path) -> None:
        """Write ``words.txt``: a word a line, the first line row 0."""
        with whole_file(Path(folder) / WORDS_FILE) as partial:
            partial.write_text("\n".join(self.words) + "\n", encoding="utf-8")

    @property
    def token_map(self) -> np.ndarray:
        """The row of each id that the student reads, int32 ``[rows]``: ids are rows."""
        return np.arange(len(self.words), dtype=np.int32)

    @cached_property
    def _pieces(self) -> Sentences:
        """The teacher's tokens of each word but the first two."""
        return _tokens_of_words(self.tokenizer, self.words[_FIRST_WORD:])

    @cached_property
    def _row(self) -> dict[str, int]:
        return {word: row for row, word in enumerate(self.words) if row >= _FIRST_WORD}

    @cached_property
    def _known(self) -> tuple[np.ndarray, np.ndarray]:
        """The words' hashes, ascending, and their rows."""
        hashes = sequence_hashes(self._pieces.tokens, self._pieces.lengths)
        order = np.argsort(hashes)
        return hashes[order], order.astype(np.int32) + _FIRST_WORD

    def _rows_of_part(self, sentences: Sentences) -> Sentences:
        starts, lengths = word_spans(sentences)
        wanted = sequence_hashes(sentences.tokens, lengths)
        if self.tokenizer.pieces.marks_spaces:  # a word has other pieces where a text begins with it: its text counts
            _, first, inverse = np.unique(wanted, return_index=True, return_inverse=True)
            words = _spelled(self.tokenizer, sentences, starts[first], lengths[first])
            found = np.array([self._row.get(word, _UNKNOWN_ROW) for word in words], np.int32)[inverse]
        else:
            hashes, rows = self._known
            place, known = find_hashes(hashes, wanted)
            found = np.where(known, rows[place], np.int32(_UNKNOWN_ROW))
        if self.tokenizer.mask_id is not None and len(starts):
            found[np.logical_or.reduceat(sentences.tokens == self.tokenizer.mask_id, starts)] = _MASK_ROW
        return Sentences(found, np.searchsorted(starts, sentences.offsets), np.ones(len(starts), bool))


def build_word_vocabulary(sentences: Sentences, tokenizer: Tokenizer, chinese: bool, min_count: int) -> WordVocabulary:
    """Return the words that occur in ``sentences`` at least ``min_count`` times, the commonest first.

    Rarer words are ``[UNK]``, in training, too: so its row is trained, on words as rare as those it stands for later.
    The few words that the tokenizer would not cut into the same tokens by themselves (cut off at the end of a text,
    say) and those with a token outside the teacher's vocabulary are ``[UNK]`` as well.

    Args:
        sentences: the training text in the teacher's tokens; ``word_starts`` mark whole words, Chinese ones too.

    Raises:
        UserError: no word occurs so often.
    """
    starts, lengths = word_spans(sentences)
    hashes, first, counts = np.unique(sequence_hashes(sentences.tokens, lengths), return_index=True, return_counts=True)
    if tokenizer.pieces.marks_spaces:
        words, again, same = _words_by_text(tokenizer, sentences, starts[first], lengths[first], counts, min_count)
    else:
        common = np.flatnonzero(counts >= min_count)
        common = common[np.lexsort((first[common], -counts[common]))]
        words = _spelled(tokenizer, sentences, starts[first[common]], lengths[first[common]])
        again = tokenizer.encode(words)
        same = sequence_hashes(again.tokens, again.lengths) == hashes[common]
    special = {tokenizer.unk_id, tokenizer.mask_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id}
    kept = tuple(word for word, ids, as_before in zip(words, again, same)
                 if as_before and special.isdisjoint(ids.tolist()))
    if not kept:
        raise no_common_word(min_count, "leave out vocabulary: words")
    return WordVocabulary((UNKNOWN, MASK, *kept), tokenizer, chinese)


def _words_by_text(tokenizer: Tokenizer, sentences: Sentences, starts: np.ndarray, lengths: np.ndarray,
                   counts: np.ndarray, min_count: int) -> tuple[list[str], Sentences, list[bool]]:
    """Return the common words by their text, the tokens of each by itself, and whether these spell it again.

    ``starts`` and ``lengths`` are where each word's first occurrence lies, a word for each way it is cut into tokens.
    """
    total: dict[str, int] = {}
    order = np.argsort(starts, kind="stable")
    for word, count in zip(_spelled(tokenizer, sentences, starts[order], lengths[order]), counts[order].tolist()):
        total[word] = total.get(word, 0) + count
    words = sorted((word for word, count in total.items() if count >= min_count and word and not _odd(word)),
                   key=lambda word: -total[word])
    again = _tokens_of_words(tokenizer, words)
    return words, again, [tokenizer.pieces.spell(ids.tolist()) == word for word, ids in zip(words, again)]


def _odd(word: str) -> bool:
    return "\ufffd" in word or any(map(str.isspace, word))


def _spelled(tokenizer: Tokenizer, sentences: Sentences, starts: np.ndarray, lengths: np.ndarray) -> list[str]:
    return [tokenizer.pieces.spell(sentences.tokens[start:start + length].tolist())
            for start, length in zip(starts.tolist(), lengths.tolist())]


def _tokens_of_words(tokenizer: Tokenizer, words: Sequence[str]) -> Sentences:
    """Return the tokens of each word as it is written inside a text."""
    return tokenizer.encode([f" {word}" for word in words] if tokenizer.pieces.marks_spaces else words)


def load_word_vocabulary(folder: str | Path, tokenizer: Tokenizer, chinese: bool) -> WordVocabulary:
    """Read what `WordVocabulary.save` wrote.

    Raises:
        UserError: ``words.txt`` is missing, damaged, or of another tokenizer; or jieba is needed and not installed.
    """
    if chinese and find_spec("jieba") is None:
        raise UserError(f"{folder}: this student reads Chinese words, which jieba cuts; pip install jieba")
    path = Path(folder) / WORDS_FILE
    try:
        words = tuple(path.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
    except (OSError, UnicodeDecodeError):
        words = ()
    if words[:_FIRST_WORD] != (UNKNOWN, MASK) or len(words) == _FIRST_WORD or not all(words):
        raise UserError(f"{path}: missing or damaged; copy the whole output folder again")
    vocabulary = WordVocabulary(words, tokenizer, chinese)
    if not vocabulary._pieces.lengths.all():
        raise UserError(f"{path}: has words that the tokenizer beside it does not know; copy the whole output folder "
                        "again")
    return vocabulary
