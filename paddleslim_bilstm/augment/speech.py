"""Parts of speech: spelling, taggers for English and Chinese that need no download, words by tag."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from itertools import accumulate
from typing import Any, Callable, Iterator, Protocol, Sequence

import numpy as np

from ..errors import UserError
from ..progress import progress_bar
from ..tokens import Sentences, Tokenizer, offsets_of, spans
from .words import chunks_of, part_of, rows_of, sequence_hashes, word_spans

_PLAIN_WORDS = re.compile(r"[^\W_]+|_|[^\w\s]")  # BERT's words in most texts, ten times faster than its tokenizer


@dataclass(frozen=True)
class Spelling:
    """Spells words as they stand in ``texts``, or from the vocabulary's pieces where ``texts`` is None."""

    sentences: Sentences
    tokenizer: Tokenizer
    texts: Sequence[str] | None

    def words(self, rows: np.ndarray) -> Iterator[list[str]]:
        """Yield the words of each of ``rows``, one text for each word of ``word_spans``, in order.

        Example: ``"Jolly soft-porn" -> ["Jolly", "soft", "-", "porn"]``; from the pieces ``["jolly", ...]``.
        """
        chosen = self.sentences.take(rows)
        starts, lengths = word_spans(chosen)
        bounds = np.searchsorted(starts, chosen.offsets)
        begins = starts - np.repeat(chosen.offsets[:-1], np.diff(bounds))
        begins, ends, bounds = begins.tolist(), (begins + lengths).tolist(), bounds.tolist()
        offsets, tokens = chosen.offsets.tolist(), chosen.tokens.tolist()
        texts = [] if self.texts is None else [self.texts[row] for row in rows]
        plain = [[] if self.tokenizer.pieces.marks_spaces else _PLAIN_WORDS.findall(text) for text in texts]
        odd = [index for index, words in enumerate(plain) if len(words) != bounds[index + 1] - bounds[index]]
        encoded = dict(zip(odd, self.tokenizer.rust.encode_batch([texts[index] for index in odd],
                                                                 add_special_tokens=False)))
        for index in range(len(chosen)):
            if texts and index not in encoded:
                yield plain[index]
                continue
            ids = tokens[offsets[index]:offsets[index + 1]]
            spans = zip(begins[bounds[index]:bounds[index + 1]], ends[bounds[index]:bounds[index + 1]])
            if texts and encoded[index].ids[:len(ids)] == ids:  # may have been truncated, not otherwise changed
                letters = encoded[index].offsets
                yield [texts[index][letters[begin][0]:letters[end - 1][1]].strip() for begin, end in spans]
            else:
                yield [self.tokenizer.pieces.spell(ids[begin:end]) for begin, end in spans]


_ROWS_PER_CUT = 1000


def join_chinese_words(sentences: Sentences, spelling: Spelling,
                       progress: Callable[[int], object] | None = None) -> Sentences:
    """Return ``sentences`` with ``word_starts`` only where jieba has a word begin; other scripts stay as they are.

    ``progress`` is called with the number of sentences done since its last call.

    Example: the four characters of ``酒店很好`` become the words ``酒店``, ``很``, ``好``: word starts 1 0 1 1.
    """
    import jieba  # here: few runs need it
    jieba.setLogLevel(logging.WARNING)
    starts, _ = word_spans(sentences)
    begins: list[bool] = []
    for first in range(0, len(sentences), _ROWS_PER_CUT):
        rows = np.arange(first, min(first + _ROWS_PER_CUT, len(sentences)))
        for words in spelling.words(rows):
            bounds = set(accumulate(map(len, jieba.cut("".join(words)))))
            places = accumulate(map(len, words))
            chinese = [bool(word) and all(map(is_chinese_letter, word)) for word in words]
            begins += [place - len(word) in bounds or not (here and before)
                       for word, place, here, before in zip(words, places, chinese, [False, *chinese])]
        if progress:
            progress(len(rows))
    word_starts = np.zeros(len(sentences.tokens), bool)
    word_starts[starts[np.array(begins, bool)]] = True
    return replace(sentences, word_starts=word_starts)


class Tagger(Protocol):
    """What tags the words of a sentence.

    ``name`` tells the tagger and its version apart from others: it is part of the transfer set's fingerprint.
    """

    name: str

    def tag(self, words: Sequence[str]) -> list[str]:
        """Return one tag a word: ``["a", "good", "film"] -> ["DT", "JJ", "NN"]``."""


class EnglishTagger:
    """Penn Treebank tags as ``textblob.en.tag(" ".join(words), tokenize=False)`` gives them.

    TextBlob's PatternTagger looks at the word and whether it opens the sentence, and no further;
    so each distinct word is tagged once.
    """

    def __init__(self) -> None:
        self.name = f"textblob {metadata.version('textblob')}"
        self._opening: dict[str, str] = {}
        self._later: dict[str, str] = {}

    def tag(self, words: Sequence[str]) -> list[str]:
        return [self._tag_one(word, self._later if place else self._opening) for place, word in enumerate(words)]

    def _tag_one(self, word: str, known: dict[str, str]) -> str:
        if word not in known:
            sentence = [word] if known is self._opening else ["the", word]
            known[word] = self._parser.find_tags(sentence)[-1][1]
        return known[word]

    @cached_property
    def _parser(self) -> Any:
        from textblob.en import parser  # here: the import takes two seconds, and few runs need it
        return parser


class ChineseTagger:
    """jieba's tags (ICTCLAS), each distinct word tagged once, by itself."""

    def __init__(self) -> None:
        self.name = f"jieba {metadata.version('jieba')}"
        self._known: dict[str, str] = {}

    def tag(self, words: Sequence[str]) -> list[str]:
        return [self._tag_one(word) for word in words]

    def _tag_one(self, word: str) -> str:
        if word not in self._known:
            self._known[word] = self._cutter.lcut(word)[-1].flag if word else "x"
        return self._known[word]

    @cached_property
    def _cutter(self) -> Any:
        import logging

        import jieba.posseg  # here: few runs need it
        jieba.setLogLevel(logging.WARNING)
        return jieba.posseg.POSTokenizer()


def is_chinese(text: str) -> bool:
    """Tell whether more than half of the letters of ``text`` are Chinese characters."""
    letters = [letter for letter in text if letter.isalpha()]
    return 2 * sum(map(is_chinese_letter, letters)) > len(letters)


def is_chinese_letter(letter: str) -> bool:
    """Tell whether ``letter`` is one CJK unified ideograph."""
    return len(letter) == 1 and ("\u4e00" <= letter <= "\u9fff" or "\u3400" <= letter <= "\u4dbf")


_ROWS_PER_BATCH = 10_000
_TAG_BITS, _HASH_BITS = 8, 28  # the other 28 are for the sentence


@dataclass(frozen=True)
class PosTable:
    """The ``W`` words of a corpus with their tags.

    Attributes:
        tags: names of the tags by code; of a vocabulary whose tokens hold spaces a tag has two codes, one for words
            behind a space and one for others, so that a word takes the place only of one that is joined alike.
        keys: sentence, word and tag of each word in one number, sorted, uint64 ``[W]``.
        starts, lengths: where the words lie in the corpus's tokens, ordered by tag, int64 and int32 ``[W]``.
        bounds: words of tag ``t`` are ``starts[bounds[t]:bounds[t + 1]]``, int64 ``[tags + 1]``.
    """

    tags: list[str]
    keys: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    bounds: np.ndarray

    def tags_in(self, rows: np.ndarray, hashes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the tag's code that a word (by its hash) has in a sentence, -1 where it isn't in it; int64 ``[n]``.

        Of a word that the sentence has more than once, one occurrence is drawn.
        """
        lowest = _keys(rows, hashes, np.zeros(len(rows), np.uint8))
        first = np.searchsorted(self.keys, lowest)
        count = np.searchsorted(self.keys, lowest + np.uint64(1 << _TAG_BITS)) - first
        picked = first + rng.integers(0, np.maximum(count, 1))
        found = count > 0
        tags = np.full(len(rows), -1, np.int64)
        tags[found] = (self.keys[picked[found]] & np.uint64((1 << _TAG_BITS) - 1)).astype(np.int64)
        return tags

    def draw(self, tags: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw a word for each tag from the unigram distribution re-normalised for the tag.

        Any occurrence of the tag is as likely as another, so a word is as likely as it is frequent.
        Returns where the words lie in the corpus's tokens: starts and lengths, int64 ``[n]``.
        """
        picked = rng.integers(self.bounds[tags], self.bounds[tags + 1])
        return self.starts[picked], self.lengths[picked].astype(np.int64)


def build_pos_table(sentences: Sentences, spelling: Spelling, tagger: Tagger) -> PosTable:
    """Tag the words of ``sentences``, each distinct sentence once.

    Raises:
        UserError: the tagger has more than 256 tags (128 where tokens hold spaces), or returns another number of tags
            than it got words.
    """
    starts, lengths = word_spans(sentences)
    first_words = np.searchsorted(starts, sentences.offsets)
    names, tags = _tag(sentences, np.diff(first_words), spelling, tagger)
    if spelling.tokenizer.pieces.marks_spaces:
        spaced = spelling.tokenizer.pieces.behind_space(sentences.tokens[starts])
        kinds, tags = np.unique(2 * tags.astype(np.int16) + spaced, return_inverse=True)
        names, tags = [names[kind // 2] for kind in kinds], tags.astype(np.uint8)
    keys = np.empty(len(starts), np.uint64)
    for first, last in chunks_of(sentences):  # each sorted in itself: the sentence is the key's upper part
        words = slice(first_words[first], first_words[last])
        hashes = sequence_hashes(part_of(sentences, first, last).tokens, lengths[words])
        keys[words] = np.sort(_keys(rows_of(starts[words], sentences.offsets), hashes, tags[words]))
    by_tag = np.argsort(tags, kind="stable")
    return PosTable(names, keys, starts[by_tag], lengths[by_tag].astype(np.int32),
                    offsets_of(np.bincount(tags, minlength=len(names))))


def _tag(sentences: Sentences, counts: np.ndarray, spelling: Spelling, tagger: Tagger) -> tuple[list[str], np.ndarray]:
    """Return the tags' names and the code of each word's tag, uint8 ``[W]``; ``counts`` are words a sentence."""
    parts = [part_of(sentences, *chunk) for chunk in chunks_of(sentences)]
    hashes = np.concatenate([np.empty(0, np.uint64), *(sequence_hashes(part.tokens, part.lengths) for part in parts)])
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    codes: dict[str, int] = {}
    most = 1 << _TAG_BITS - spelling.tokenizer.pieces.marks_spaces
    batches = [np.empty(0, np.uint8)]
    with progress_bar("tag parts of speech", len(first), "sentences") as bar:
        for begin in range(0, len(first), _ROWS_PER_BATCH):
            batch = first[begin:begin + _ROWS_PER_BATCH]
            tags: list[int] = []
            for row_words in spelling.words(batch):
                row_tags = tagger.tag(row_words)
                if len(row_tags) != len(row_words):
                    raise UserError(f"tagger {tagger.name}: {len(row_tags)} tags for {len(row_words)} words "
                                    f"({' '.join(row_words)!r}); it must return one tag a word")
                tags += [codes.setdefault(tag, len(codes)) for tag in row_tags]
            if len(codes) > most:
                raise UserError(f"tagger {tagger.name}: more than {most} tags; use a coarser tagset")
            batches.append(np.array(tags, np.uint8))
            bar.update(len(batch))
    distinct, starts = np.concatenate(batches), offsets_of(counts[first])[:-1][inverse]
    parts = [distinct[spans(starts[first:last], counts[first:last])] for first, last in chunks_of(sentences)]
    return list(codes), np.concatenate([batches[0], *parts])


def _keys(rows: np.ndarray, hashes: np.ndarray, tags: np.ndarray) -> np.ndarray:
    """Pack sentence (28 bits), the upper 28 bits of the word's hash, and tag (8 bits) into uint64 ``[n]``."""
    keys = rows.astype(np.uint64) << np.uint64(_HASH_BITS)
    keys |= hashes >> np.uint64(64 - _HASH_BITS)
    keys <<= np.uint64(_TAG_BITS)
    keys |= tags
    return keys
