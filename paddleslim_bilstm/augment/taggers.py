"""Part-of-speech taggers: English by TextBlob, Chinese by jieba; both have their data in their packages."""

from __future__ import annotations

from functools import cached_property
from importlib import metadata
from typing import Any, Protocol, Sequence


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
