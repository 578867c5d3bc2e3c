"""The tutorial's augmentation, a sentence at a time, and a tiny corpus to compare on."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from paddleslim_bilstm.augment import Corpus
from paddleslim_bilstm.tokens import load_tokenizer

PIECES = """[PAD] [UNK] [CLS] [SEP] [MASK] the a film movie plot actor is was feels good bad dull great very quite
not , . un ##believ ##able ##ab ##ly ##s love ##d i we hate watch ##ing 酒 店 很 好 房 间 不 服 务""".split()
TEXTS = ["The film is good.", "a dull movie", "we loved the great actor", "i hate the very bad plot, unbelievably bad",
         "movie", "watching the film is not good, watching a very dull plot is quite unbelievable", "the film is good."]


@dataclass
class Hook:
    name: str
    params: dict = field(default_factory=dict)


@dataclass
class Augmentation:
    n_iter: int | None
    hooks: tuple = (Hook("masking"), Hook("pos_replacement"), Hook("ngram_sampling"))


def tiny_tokenizer(folder, pieces=PIECES):
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return load_tokenizer(folder)


def tiny_corpus(folder, texts=TEXTS):
    tokenizer = tiny_tokenizer(folder)
    return Corpus.create(tokenizer.encode(texts), tokenizer, texts)


def words_of(ids, word_starts):
    """``ids=[5, 6, 7], word_starts=[1, 0, 1] -> [[5, 6], [7]]``."""
    words = []
    for token, begins in zip(ids, word_starts):
        if begins or not words:
            words.append([])
        words[-1].append(int(token))
    return words


def ngram_sampling(words, p_ng, ngram_range, rng: random.Random):
    if rng.random() < p_ng:
        ngram_len = rng.randint(ngram_range[0], ngram_range[1])
        ngram_len = min(ngram_len, len(words))
        start = rng.randint(0, len(words) - ngram_len)
        words = words[start:start + ngram_len]
    return words


def crossover(first, second, p_cross, rng: random.Random):
    """``second`` is another sentence, drawn by the caller."""
    if rng.random() < p_cross:
        return first[:rng.randint(1, len(first))] + second[-rng.randint(1, len(second)):]
    return first


def masking(words, mask_id, p_mask, rng: random.Random):
    """``words`` are tokens, or lists of tokens when whole words are masked."""
    mask = [mask_id] if words and isinstance(words[0], list) else mask_id
    return [mask if rng.random() < p_mask else word for word in words]


def pos_replacement(words, tags, words_by_tag, p_pos, rng: random.Random):
    """``words_by_tag``: every occurrence in the corpus, so that a choice among them is the unigram distribution."""
    return [rng.choice(words_by_tag[tag]) if rng.random() < p_pos else word for word, tag in zip(words, tags)]
