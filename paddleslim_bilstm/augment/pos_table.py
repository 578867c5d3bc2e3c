"""Part-of-speech tags of a corpus, laid out for replacing many words at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..progress import progress_bar
from ..tokens import Sentences, offsets_of, spans
from .chunks import chunks_of, part_of
from .spelling import Spelling
from .taggers import Tagger
from .words import rows_of, sequence_hashes, word_spans

_ROWS_PER_BATCH = 10_000
_TAG_BITS, _HASH_BITS = 8, 28  # the other 28 are for the sentence


@dataclass(frozen=True)
class PosTable:
    """The ``W`` words of a corpus with their tags.

    Attributes:
        tags: names of the tags by code.
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
        UserError: the tagger has more than 256 tags, or returns another number of tags than it got words.
    """
    starts, lengths = word_spans(sentences)
    first_words = np.searchsorted(starts, sentences.offsets)
    names, tags = _tag(sentences, np.diff(first_words), spelling, tagger)
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
            if len(codes) > 1 << _TAG_BITS:
                raise UserError(f"tagger {tagger.name}: more than {1 << _TAG_BITS} tags; use a coarser tagset")
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
