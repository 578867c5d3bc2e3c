"""The teacher's tokenizer of any kind, run by the Rust library ``tokenizers`` (no Paddle needed)."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

import numpy as np
import tokenizers
from tokenizers import AddedToken
from tokenizers.normalizers import BertNormalizer

from ..errors import UserError
from ..storage import copy_whole, read_json, whole_file, write_json
from . import older_files
from .framing import Framing
from .pieces import Pieces, pieces_of
from .sentences import Sentences

_log = logging.getLogger(__name__)

_OLDER_FILES = {"vocab.txt": older_files.wordpiece, "vocab.json": older_files.byte_level_bpe,
                "sentencepiece.bpe.model": older_files.xlm_roberta, "spiece.model": older_files.albert,
                "spm.model": older_files.deberta}
VOCABULARY_FILES = ("tokenizer.json", *_OLDER_FILES)
TOKENIZER_FILES = (*VOCABULARY_FILES, "merges.txt", "tokenizer_config.json", "special_tokens_map.json",
                   "added_tokens.json")
_OTHER_CLASSES = {f"{name}Tokenizer" for name in (
    "BertJapanese", "RoFormer", "Herbert", "Bertweet", "Phobert", "ErnieM", "ErnieTiny", "BertGeneration", "Cpm",
    "CTRL", "Flaubert", "XLM", "TransfoXL", "Luke", "Tapas")}  # whose files are called like those of others
_GENERIC_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")  # of these tokenizer.json says all
_NORMALISING = {"handle_chinese_chars": "tokenize_chinese_chars", "strip_accents": "strip_accents",
                "lowercase": "do_lower_case"}  # of BERT's normaliser, and the same in tokenizer_config.json
_ROWS_PER_CALL = 10_000  # even: of a pair the sides come one after the other
_STRANGE_WORD = "\U0010fffd"
_REMEDY = "copy the file from the teacher again"
_OF_TRANSFORMERS_5 = "TokenizersBackend"
_USUAL_NAMES = {"pad": ("[PAD]", "<pad>"), "unk": ("[UNK]", "<unk>"), "cls": ("[CLS]", "<s>"),
                "sep": ("[SEP]", "</s>"), "mask": ("[MASK]", "<mask>")}
_SPECIAL_LISTS = ("additional_special_tokens", "extra_special_tokens")  # of transformers 4 and 5
_MATCHING = ("single_word", "lstrip", "rstrip", "normalized")  # how a token is sought in a text


@dataclass(frozen=True)
class Tokenizer:
    """Cuts words into pieces: WordPiece, byte-level BPE or SentencePiece; a model reads them in special tokens.

    Attributes:
        vocab: the tokens by id.
        pad_id, unk_id, cls_id, sep_id: ids of the special tokens, ``[CLS]`` or ``<s>`` and ``[SEP]`` or ``</s>``.
        mask_id: id of the mask token, or None where the vocabulary has none.
        separators: how many ``[SEP]`` it puts between the sides of a pair.
        second_type: the token type that it gives to the second side of a pair.
        model: the kind of vocabulary, as ``tokenizers`` calls it.
    """

    rust: tokenizers.Tokenizer
    vocab: list[str]
    pad_id: int
    unk_id: int
    cls_id: int
    sep_id: int
    mask_id: int | None
    separators: int = 1
    second_type: int = 1
    model: str = "WordPiece"

    def encode(self, texts: Sequence[str] | Sequence[tuple[str, str]],
               progress: Callable[[int], object] | None = None) -> Sentences:
        """Tokenize texts, or pairs of texts, into content tokens, without special tokens or truncation.

        What a text itself spells as padding is left out, as models would skip it, and in pairs a ``[SEP]`` that it
        spells is unknown, as it would end a side. ``progress`` is called with the number of texts, or pairs, done since
        its last call.
        """
        if len(texts) and not isinstance(texts[0], str):
            of_pairs = progress and (lambda sides: progress(sides // 2))
            sides = self.encode([text for pair in texts for text in pair], of_pairs)
            tokens = np.where(sides.tokens == self.sep_id, np.int32(self.unk_id), sides.tokens)
            return Sentences.from_sides(replace(sides, tokens=tokens))
        parts = [Sentences.from_lists([], [])]
        for start in range(0, len(texts), _ROWS_PER_CALL):
            encoded = self.rust.encode_batch(list(texts[start:start + _ROWS_PER_CALL]), add_special_tokens=False)
            parts.append(self._sentences_in(encoded))
            if progress:
                progress(len(encoded))
        sentences = Sentences.concatenate(parts)
        kept = sentences.tokens != self.pad_id
        if kept.all():
            return sentences
        ends = np.concatenate([[0], np.cumsum(kept)])[sentences.offsets]
        return Sentences(sentences.tokens[kept], ends, sentences.word_starts[kept])

    def _sentences_in(self, encoded: Sequence[tokenizers.Encoding]) -> Sentences:
        if self.pieces.marks_spaces:
            return self.sentences_of([one.ids for one in encoded])
        word_ids = [one.word_ids for one in encoded]
        starts = [[i == 0 or words[i] != words[i - 1] for i in range(len(words))] for words in word_ids]
        return Sentences.from_lists([one.ids for one in encoded], starts)

    def sentences_of(self, ids: Sequence[Sequence[int]]) -> Sentences:
        """Return sentences of which only the content tokens are known: where words begin the tokens tell."""
        sentences = Sentences.from_lists(ids)
        return Sentences(sentences.tokens, sentences.offsets,
                         self.pieces.word_starts(sentences.tokens, sentences.offsets))

    @cached_property
    def framing(self) -> Framing:
        """How BERT reads what this tokenizer gives: ``input_ids`` and ``token_type_ids``."""
        return Framing.of(self)

    @cached_property
    def pieces(self) -> Pieces:
        """How the vocabulary spells words."""
        special = {self.pad_id, self.cls_id, self.sep_id, self.mask_id} - {None, self.unk_id}
        return pieces_of(self.model, self.vocab, self.unk_id, special)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the tokens of ``ids`` as text, pieces joined."""
        return self.rust.decode(np.asarray(ids).tolist(), skip_special_tokens=False)


def has_tokenizer(folder: Path) -> bool:
    """Return whether ``folder`` holds a tokenizer's vocabulary."""
    return any((folder / name).is_file() for name in VOCABULARY_FILES)


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the tokenizer's files, whichever of them there are, each whole or not at all.

    What files beside them say of them, the copies say themselves: that they are Camembert's, or, in a
    ``tokenizer.json``, how PaddleNLP parts words, or that it doesn't where ``target`` looks like PaddleNLP's.
    """
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            copy_whole(source / name, target / name)
    if (source / "tokenizer.json").is_file():
        return
    config = _NamedTokens(source).config
    if (source / "vocab.txt").is_file():
        if any(older_files.is_of_paddlenlp(folder, config) for folder in (source, target)):
            with whole_file(target / "tokenizer.json") as file:
                file.write_text(load_tokenizer(source).rust.to_str(pretty=True), encoding="utf-8")
    elif (source / "sentencepiece.bpe.model").is_file():
        if older_files.is_camembert(source, config) and not older_files.is_camembert(target, config):
            write_json(target / "tokenizer_config.json", {**config, "tokenizer_class": "CamembertTokenizer"})


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Load the tokenizer from ``tokenizer.json``, or from the files of older libraries.

    These are ``vocab.txt`` (WordPiece), ``vocab.json`` with ``merges.txt`` (byte-level BPE) and SentencePiece's
    ``sentencepiece.bpe.model`` (XLM-R), ``spiece.model`` (ALBERT) or ``spm.model`` (DeBERTa-v3). With a ``vocab.txt``
    words are parted as PaddleNLP does, where it has written the folder (see `older_files.is_of_paddlenlp`), else as
    Hugging Face's transformers does; a ``tokenizer.json`` says that itself. The special tokens are those that
    ``tokenizer_config.json`` or ``special_tokens_map.json`` names, those that the tokenizer itself puts around a
    sentence, or the usual ones.

    Raises:
        UserError: the folder holds no vocabulary, a file is damaged, the vocabulary lacks a special token, or the
            tokenizer frames sentences in a way that no `Framing` has.
    """
    folder = Path(folder)
    named = _NamedTokens(folder)
    if named.config.get("truncation_side") == "left":
        _log.warning("%s: truncation_side is left, so the teacher has learned from the ends of long texts; here it "
                     "reads their beginnings, as the student does", folder / "tokenizer_config.json")
    file = next((name for name in VOCABULARY_FILES if (folder / name).is_file()), None)
    if file is None:
        raise UserError(f"{folder}: no tokenizer files; copy the teacher's vocab.txt (or tokenizer.json) there, "
                        "or name their folder as Global.tokenizer_dir")
    kind = str(named.config.get("tokenizer_class") or "").removesuffix("Fast")
    if file in _OLDER_FILES and kind in _OTHER_CLASSES:
        raise UserError(f"{folder}: a {kind} cuts words in a way of its own, which {file} doesn't tell; save the "
                        "tokenizer with a tokenizer.json, or label with the teacher elsewhere (Global.teacher_labels)")
    with _damage_named(folder / file):
        if file == "tokenizer.json":
            rust = tokenizers.Tokenizer.from_file(str(folder / file))
            rust.no_truncation()
            _normalise_as_configured(rust, named.config, folder)
        else:
            rust = _OLDER_FILES[file](folder, named.config, named.of)
            _add_tokens(rust, folder / "added_tokens.json", named)
        pad = rust.padding["pad_token"] if rust.padding else None
        rust.no_padding()
        rust.encode(_STRANGE_WORD)  # some faults show only where a word is unknown
        frame = _Frame.observed(rust)
    ids, vocab = _ids_of(folder, rust, named, frame, pad), rust.get_vocab(with_added_tokens=True)
    tokens = [""] * (max(vocab.values()) + 1)
    for token, place in vocab.items():
        tokens[place] = token
    separators, second_type = _of_pairs(folder, named, frame, ids)
    return Tokenizer(rust, tokens, **{f"{name}_id": value for name, value in ids.items()}, separators=separators,
                     second_type=second_type, model=type(rust.model).__name__)


class _NamedTokens:
    """The settings of a tokenizer and the special tokens that they name."""

    def __init__(self, folder: Path):
        self.config, tokens = (read_json(folder / name, _REMEDY) if (folder / name).is_file() else {}
                               for name in ("tokenizer_config.json", "special_tokens_map.json"))
        self._sources = [("tokenizer_config.json", self.config), ("special_tokens_map.json", tokens)]

    def get(self, role: str) -> str | None:
        """Return what a file calls the special token of ``role``, such as ``"pad"``."""
        for file, settings in self._sources:
            token = settings.get(f"{role}_token")
            if token:
                return self._told(file, f"{role}_token", token)["content"]
        return None

    def of(self, role: str, usual: str) -> str:
        return self.get(role) or usual

    def added(self) -> dict[str, dict[str, Any]]:
        """Return what the files tell of each token that is never cut, by the token.

        Special are those of a role, those that are listed as such, and those that ``added_tokens_decoder`` calls so.
        """
        found: dict[str, dict[str, Any]] = {}
        for file, settings in reversed(self._sources):
            named = [(key, token) for key, token in settings.items() if key.endswith("_token")
                     and (isinstance(token, str) or isinstance(token, dict) and "content" in token)]
            for key in _SPECIAL_LISTS:
                listed = settings.get(key) or []
                listed = [*listed.values()] if isinstance(listed, dict) else listed
                named += [(key, token) for token in (listed if isinstance(listed, list) else [listed])]
            for key, token in named:
                told = self._told(file, key, token)
                found[told["content"]] = {**told, "special": True}
            decoder = settings.get("added_tokens_decoder")
            for token in decoder.values() if isinstance(decoder, dict) else []:
                told = self._told(file, "added_tokens_decoder", token)
                found[told["content"]] = {**told, "special": told.get("special") or told["content"] in found}
        return found

    @staticmethod
    def _told(file: str, key: str, token: Any) -> dict[str, Any]:
        told = token if isinstance(token, dict) else {"content": token}
        if not isinstance(told.get("content"), str):
            raise UserError(f"{file}: {key} is {told.get('content')!r}, not a text; {_REMEDY}")
        return told


@dataclass(frozen=True)
class _Frame:
    """The special tokens that a tokenizer puts around a sentence, and around and between the sides of a pair."""

    single: tuple[list[int], list[int]]
    pair: tuple[list[int], list[int], list[int]]
    second_type: int

    @classmethod
    def observed(cls, rust: tokenizers.Tokenizer) -> _Frame | None:
        """Look at what it makes of a sentence and of a pair; None where it adds no special tokens."""
        single, pair = rust.encode("a"), rust.encode("a", "a")
        sides = [[place for place, side in enumerate(pair.sequence_ids) if side == number] for number in (0, 1)]
        content = [place for place, side in enumerate(single.sequence_ids) if side is not None]
        if not content or not all(sides) or len(content) == len(single.ids):
            return None
        (first, end_of_first), (second, end) = ((places[0], places[-1] + 1) for places in sides)
        return cls((single.ids[:content[0]], single.ids[content[-1] + 1:]),
                   (pair.ids[:first], pair.ids[end_of_first:second], pair.ids[end:]), pair.type_ids[second])


def _ids_of(folder: Path, rust: tokenizers.Tokenizer, named: _NamedTokens, frame: _Frame | None,
            pad: str | None) -> dict[str, int | None]:
    """Return the ids of the special tokens by their roles."""
    seen: dict[str, str | None] = {"pad": pad, "unk": getattr(rust.model, "unk_token", None)}
    if frame is not None and all(map(len, frame.single)):
        seen.update(cls=rust.id_to_token(frame.single[0][0]), sep=rust.id_to_token(frame.single[1][-1]))
    ids = {}
    for role, usual in _USUAL_NAMES.items():
        names = [named.get(role) or seen.get(role)]
        if names[0] is None:
            names = [name for name in usual if rust.token_to_id(name) is not None] or [usual[0]]
        ids[role] = rust.token_to_id(names[0])
        if ids[role] is None and role != "mask":
            raise UserError(f"{folder}: the vocabulary has no {names[0]} token; "
                            "use the tokenizer files that the teacher was trained with")
    return ids


def _of_pairs(folder: Path, named: _NamedTokens, frame: _Frame | None, ids: dict[str, int | None]) -> tuple[int, int]:
    """Return how many separators stand between the sides of a pair, and the type of the second side."""
    before, behind = [ids["cls"]], [ids["sep"]]
    if frame is None:
        family = re.match("MPNet|Roberta|XLMRoberta|Camembert", str(named.config.get("tokenizer_class")))
        return (2, 0) if family else (1, 1)
    if frame.single != (before, behind):
        raise UserError(f"{folder}: its tokenizer puts the tokens {frame.single[0]} before a sentence and "
                        f"{frame.single[1]} behind it, not one such as [CLS] and one such as [SEP], and such a teacher "
                        "is not supported; label with it elsewhere")
    first, between, last = frame.pair
    separators, second_type = 1, 1
    if (first, last) == (before, behind) and between in (behind, 2 * behind):
        separators, second_type = len(between), frame.second_type
    return separators, second_type if _gives_types(named.config) else 0


def _gives_types(config: dict[str, Any]) -> bool:
    """Return whether transformers hands a model the types of the tokens, without which it takes them all for 0.

    A tokenizer lists what it gives; the generic class of transformers 5 gives no types unless they are listed.
    """
    names = config.get("model_input_names")
    return "token_type_ids" in names if isinstance(names, list) else config.get("tokenizer_class") != _OF_TRANSFORMERS_5


def _normalise_as_configured(rust: tokenizers.Tokenizer, config: dict[str, Any], folder: Path) -> None:
    """Let BERT's normaliser do what ``tokenizer_config.json`` says of it, as transformers does."""
    if not isinstance(rust.normalizer, BertNormalizer) or config.get("tokenizer_class") in _GENERIC_CLASSES:
        return
    said = {key: getattr(rust.normalizer, key) for key in ("clean_text", *_NORMALISING)}
    differ = [name for key, name in _NORMALISING.items() if name in config and config[name] != said[key]]
    if differ:
        rust.normalizer = BertNormalizer(**{**said, **{key: config[name] for key, name in _NORMALISING.items()
                                                       if name in differ}})
        _log.warning("%s: %s counts, not what tokenizer.json says, as in transformers",
                     folder / "tokenizer_config.json",
                     ", ".join(f"{name}: {str(config[name]).lower()}" for name in differ))


def _add_tokens(rust: tokenizers.Tokenizer, path: Path, named: _NamedTokens) -> None:
    """Add the tokens of ``added_tokens.json``, in the order of their ids, and those ``named`` that the vocabulary has.

    As in transformers, special ones are sought in a text as it is written, others in what the normaliser makes of it.
    """
    ids = read_json(path, _REMEDY) if path.is_file() else {}
    if not all(isinstance(place, int) for place in ids.values()):
        raise UserError(f"{path}: holds something else than tokens with their ids; {_REMEDY}")
    told = named.added()
    known = {one.content for one in getattr(rust, "get_added_tokens_decoder", dict)().values()}  # tokenizers 0.15
    for token in [*sorted(ids, key=ids.get), *(one for one in told if one not in ids)]:
        if token in known or token not in ids and rust.token_to_id(token) is None:
            continue
        settings = told.get(token, {})
        special = bool(settings.get("special"))
        how = {"normalized": not special, **{key: bool(settings[key]) for key in _MATCHING if key in settings}}
        (rust.add_special_tokens if special else rust.add_tokens)([AddedToken(token, **how)])


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn whatever the Rust library raises, even a panic, into one line about ``path``."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, (UserError, KeyboardInterrupt, MemoryError)):
            raise
        raise UserError(f"{path}: can't be loaded ({error}); {_REMEDY}") from None
