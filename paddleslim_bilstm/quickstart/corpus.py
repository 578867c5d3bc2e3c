"""A review corpus made by a small grammar: the labels follow from how the words are put together.

Every clause judges one aspect, and says it straight (``the plot is clever``) or by denying the contrary
(``the plot is anything but dull``). Sentences then join clauses so that one decides
(``although the acting is wooden, the plot is clever``). So praise and blame occur nearly as often under
either label, and counting words does not solve it.

The labelled texts are few and use only some of the words. A teacher knows the others from its pretraining; a student
has to hear from it, by way of the unlabelled texts, what they mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..storage import whole_file
from .lexicon import BLAME, BLAMING_VERBS, DISASTERS, DOMAINS, PRAISE, PRAISING_VERBS, TRIUMPHS, Aspect, Domain

_UNLABELED_SHARE = 0.25  # of the words that judge; labelled reviews never use them

_STRAIGHT_SHARE = 0.6  # of the clauses; the others deny the contrary

# {how} is an intensifier, {be} is or are, {was} was or were, {a} a or an. A pattern that begins with "the", "nobody"
# or "it" may stand behind "although" or "that"; the others stand alone.
_INTENSIFIERS = ("", "", "", "really ", "truly ", "simply ", "genuinely ", "absolutely ", "quite ")
_DENIED_INTENSIFIERS = ("", "", "really ", "particularly ")
_STRAIGHT = ("the {noun} {be} {how}{word}", "the {noun} {be} {how}{word}", "the {noun} turned out to be {how}{word}",
             "the {noun} proved {how}{word}")
_STRAIGHT_ALONE = ("I found the {noun} {how}{word}", "I must say that the {noun} {be} {how}{word}",
                   "everyone called the {noun} {how}{word}", "what I remember best is how {word} the {noun} {was}")
_DENIED = ("the {noun} {be} not {how}{word}", "the {noun} {be}n't {how}{word}", "the {noun} {be} not {word} at all",
           "the {noun} {be} never {word}", "the {noun} {be} far from {word}", "the {noun} {be} anything but {word}",
           "the {noun} {be} by no means {word}", "the {noun} {be} hardly {word}",
           "the {noun} did not turn out to be {word}", "nobody could call the {noun} {word}",
           "it would be wrong to call the {noun} {word}")
_DENIED_ALONE = ("I did not find the {noun} {how}{word}", "I don't think that the {noun} {be} {word}",
                 "I never thought that the {noun} {was} {word}")
_STRAIGHT_VERB = ("the {noun} {verbed} me", "the {noun} {how}{verbed} us", "the {noun} managed to {verb} me")
_DENIED_VERB = ("the {noun} did not {verb} me", "the {noun} never {verbed} us", "the {noun} did anything but {verb} me",
                "the {noun} could hardly {verb} us")
_DECIDED_BY_MAIN = ("{other}, but {main}", "{other}, yet {main}", "although {other}, {main}",
                    "even though {other}, {main}", "{main}, although {other}", "{main}, even though {other}",
                    "while it is true that {other}, {main}", "{other}. However, {main}", "{other}. Still, {main}",
                    "never mind that {other}: {main}", "I don't care that {other}, because {main}")
_AGREEING = ("{main}, and {other}", "{main}. What is more, {other}", "{main}, and on top of that {other}")
_HEARSAY_TRUE = ("I had read that {claim}, and it is true", "my friends say that {claim}, and they are right",
                 "the critics write that {claim}, and I agree")
_HEARSAY_FALSE = ("I had read that {claim}, but it is not true", "my friends say that {claim}, but they are wrong",
                  "the critics write that {claim}, but I disagree")
_ITEM_STRAIGHT = ("this is {a} {how}{word} {item}", "it is {a} {how}{word} {item}, all in all",
                  "I have rarely {tried} such {a} {word} {item}", "this {item} is a {thing}",
                  "it was exactly the {thing} that I had expected")
_ITEM_DENIED = ("this is not {a} {word} {item}", "it is anything but {a} {word} {item}",
                "this {item} is hardly the {thing} that I had expected", "this {item} is by no means a {thing}",
                "nobody could call it {a} {word} {item}", "this {item} is nothing like the {thing} that I had expected")
_VERDICTS = {1: ("I would gladly {again}", "I can recommend this {item} to everyone", "I have no complaints",
                 "I have never {tried} a better {item}", "I regret nothing", "a better {item} is hard to imagine"),
             0: ("I would never {again}", "I cannot recommend this {item} to anyone", "I have many complaints",
                 "I have never {tried} a worse {item}", "I regret it", "a worse {item} is hard to imagine")}
_OPENINGS = ("",) * 9 + ("To be honest, ", "In my opinion, ", "For what it is worth, ", "As far as I can tell, ")


@dataclass(frozen=True)
class Corpus:
    """Reviews for the quickstart, as rows ``(text, label)`` with 1 for praise; all texts differ.

    Attributes:
        train, dev: labelled rows, as many of each label.
        unlabeled: more texts, made like ``dev``.
    """

    train: list[tuple[str, int]]
    dev: list[tuple[str, int]]
    unlabeled: list[str]


def make_corpus(train: int = 3000, dev: int = 600, unlabeled: int = 8000, seed: int = 0) -> Corpus:
    """Make the corpus; the same arguments give the same rows.

    ``train`` judges by some of the words, ``dev`` and ``unlabeled`` by all (the plot may be dull in all of them, but
    tedious in the latter two alone).
    """
    rng = np.random.default_rng(seed)
    seen: set[str] = set()
    labelled, other = _Grammar(rng, _unlabeled_words(rng)), _Grammar(rng, frozenset())
    return Corpus(_rows(labelled, train, seen), _rows(other, dev, seen),
                  [text for text, _ in _rows(other, unlabeled, seen)])


def write_corpus(folder: str | Path, corpus: Corpus) -> None:
    """Write ``train.tsv`` and ``dev.tsv`` (``sentence<TAB>label``, with a header) and ``unlabeled.txt``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train.tsv", corpus.train), ("dev.tsv", corpus.dev)):
        with whole_file(folder / name) as partial:
            lines = ["sentence\tlabel"] + [f"{text}\t{label}" for text, label in rows]
            partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with whole_file(folder / "unlabeled.txt") as partial:
        partial.write_text("\n".join(corpus.unlabeled) + "\n", encoding="utf-8")


def _unlabeled_words(rng: np.random.Generator) -> frozenset[str]:
    """Draw the words that the labelled reviews don't use."""
    aspects = [aspect for domain in DOMAINS for aspect in domain.aspects]
    lists = (PRAISE, BLAME, PRAISING_VERBS, BLAMING_VERBS, TRIUMPHS, DISASTERS, *(one.praise for one in aspects),
             *(one.blame for one in aspects))
    return frozenset(word for words in lists for word in
                     rng.choice(words, round(_UNLABELED_SHARE * len(words)), replace=False).tolist())


def _rows(grammar: _Grammar, count: int, seen: set[str]) -> list[tuple[str, int]]:
    rows = []
    while len(rows) < count:
        label = len(rows) % 2
        text = grammar.review(label)
        if text not in seen:
            seen.add(text)
            rows.append((text, label))
    return [rows[i] for i in grammar.rng.permutation(count)]


class _Grammar:
    """Makes reviews of a wanted label (1 praise, 0 blame) without the words that it doesn't know."""

    def __init__(self, rng: np.random.Generator, unknown: frozenset[str]):
        self.rng = rng
        self.unknown = unknown

    def review(self, label: int) -> str:
        domain = self._pick(DOMAINS)
        kind = self.rng.random()
        main, other = self._two_aspects(domain)
        if kind < 0.30:
            text = self._clause(main, label, alone=True)
        elif kind < 0.75:
            text = self._pick(_DECIDED_BY_MAIN).format(main=self._judgement(domain, main, label),
                                                       other=self._clause(other, 1 - label))
        elif kind < 0.85:
            text = self._pick(_AGREEING).format(main=self._clause(main, label, alone=True),
                                                other=self._clause(other, label))
        else:
            text = self._hearsay(main, label)
        if not text.startswith("I "):
            text = self._pick(_OPENINGS) + text
        if self.rng.random() < 0.25:
            text = f"{self._pick(domain.scenes)}. {text}"
        return ". ".join(_capital(part) for part in text.split(". ")) + "."

    def _two_aspects(self, domain: Domain) -> list[Aspect]:
        return [domain.aspects[i] for i in self.rng.choice(len(domain.aspects), 2, replace=False)]

    def _judgement(self, domain: Domain, aspect: Aspect, label: int) -> str:
        """Return a clause on one aspect, or now and then on the whole thing."""
        kind = self.rng.random()
        if kind < 0.75:
            return self._clause(aspect, label, alone=True)
        if kind < 0.82:
            return self._pick(_VERDICTS[label]).format(item=domain.item, tried=domain.tried, again=domain.again)
        straight, praising = self._way(label)
        word, how = self._word(PRAISE if praising else BLAME), self._pick(_INTENSIFIERS)
        pattern = self._pick(_ITEM_STRAIGHT if straight else _ITEM_DENIED)
        follows = how + word if "{how}" in pattern else word
        return pattern.format(a="an" if follows[0] in "aeiou" else "a", how=how, word=word, item=domain.item,
                              tried=domain.tried, thing=self._word(TRIUMPHS if praising else DISASTERS))

    def _clause(self, aspect: Aspect, label: int, alone: bool = False) -> str:
        """Return a clause that praises (1) or blames (0) ``aspect``: straight, or by denying the contrary."""
        straight, praising = self._way(label)
        be = {"be": "are", "was": "were"} if aspect.plural else {"be": "is", "was": "was"}
        if self.rng.random() < 0.2:
            verb = self._word(PRAISING_VERBS if praising else BLAMING_VERBS)
            return self._pick(_STRAIGHT_VERB if straight else _DENIED_VERB).format(
                noun=aspect.noun, verb=verb, verbed=_past(verb), how=self._pick(("", "really ", "truly ")))
        word = self._word(PRAISE + aspect.praise * 3 if praising else BLAME + aspect.blame * 3)
        patterns = _STRAIGHT if straight else _DENIED
        if alone:
            patterns += _STRAIGHT_ALONE if straight else _DENIED_ALONE
        how = self._pick(_INTENSIFIERS if straight else _DENIED_INTENSIFIERS)
        return self._pick(patterns).format(noun=aspect.noun, word=word, how=how, **be)

    def _way(self, label: int) -> tuple[bool, bool]:
        """Draw whether to say ``label`` straight, and whether the word to use then praises."""
        straight = self.rng.random() < _STRAIGHT_SHARE
        return straight, bool(label) == straight

    def _hearsay(self, aspect: Aspect, label: int) -> str:
        confirmed = self.rng.random() < _STRAIGHT_SHARE
        claim = self._clause(aspect, label if confirmed else 1 - label)
        return self._pick(_HEARSAY_TRUE if confirmed else _HEARSAY_FALSE).format(claim=claim)

    def _word(self, words: tuple[str, ...]) -> str:
        return self._pick([word for word in words if word not in self.unknown])

    def _pick(self, options):
        return options[int(self.rng.integers(len(options)))]


def _past(verb: str) -> str:
    if verb.endswith("fy"):
        return verb[:-1] + "ied"
    return verb + "d" if verb.endswith("e") else verb + "ed"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
