"""Tokenizers from the files of libraries older than ``tokenizer.json``: WordPiece, byte-level BPE, SentencePiece."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.implementations import BertWordPieceTokenizer

from ..errors import UserError
from ..storage import read_json

Special = Callable[[str, str], str]  # of a role and the family's own name for it: the special token
_UNIGRAM = 1
_FEW_STRANGE = 2  # tokens that begin like SentencePiece's, in a vocabulary of another kind
_MPNETS = {"sep": "</s>", "cls": "<s>", "pad": "<pad>", "mask": "<mask>"}  # its own names, where none are named
_PADDLENLP_CLASSES = {f"{name}Tokenizer" for name in (
    "Ernie", "ErnieDoc", "ErnieGram", "RobertaChinese", "TinyBert", "PPMiniLM", "NeZha", "AlbertChinese", "Skep",
    "UNIMO", "GAUAlpha")}  # with a vocab.txt; transformers has none that are called so
_TRANSFORMERS_KEYS = {"name_or_path", "added_tokens_decoder", "clean_up_tokenization_spaces", "tokenizer_file"}
_PADDLENLP_KEYS = {"tokenizer_class", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}


def wordpiece(folder: Path, config: Mapping[str, Any], special: Special) -> Tokenizer:
    """Build BERT's tokenizer, or MPNet's, from ``vocab.txt``; it parts words as the library that wrote the folder does.

    Raises:
        UserError: it holds another kind of pieces, such as ERNIE-M's.
    """
    with open(folder / "vocab.txt", encoding="utf-8", errors="replace") as file:
        strange = [line.rstrip("\n") for line in file if line[:1] == "\u2581" and len(line) > 2]
    if len(strange) > _FEW_STRANGE:
        raise UserError(f"{folder / 'vocab.txt'}: holds pieces of SentencePiece, such as {strange[0]}, and no "
                        "WordPiece; save the tokenizer with a tokenizer.json and copy that file")
    of_mpnet = str(config.get("tokenizer_class")).startswith("MPNet")
    names = {f"{role}_token": special(role, _MPNETS[role] if of_mpnet and role in _MPNETS else f"[{role.upper()}]")
             for role in ("unk", "sep", "cls", "pad", "mask")}
    built = BertWordPieceTokenizer(str(folder / "vocab.txt"), **names, lowercase=config.get("do_lower_case", True),
                                   strip_accents=config.get("strip_accents"),
                                   handle_chinese_chars=config.get("tokenize_chinese_chars", True))._tokenizer
    if is_of_paddlenlp(folder, config):
        built.pre_tokenizer = paddlenlp_words()
    if of_mpnet:
        built.post_processor = _two_separators(built, names["cls_token"], names["sep_token"])
    return built


def is_of_paddlenlp(folder: Path, config: Mapping[str, Any]) -> bool:
    """Return whether PaddleNLP has written a folder with a ``vocab.txt``, whose model then reads PaddleNLP's words.

    The first of these that is there tells: in ``config``, the tokenizer's, a class that only PaddleNLP has, or a key
    that only transformers writes; in the model's ``config.json`` the version of either library; weights of Paddle
    (``.pdparams``), or PaddleNLP's older ``model_config.json``; and last, for a tokenizer's own folder and for exported
    models, a ``config`` as PaddleNLP writes it: with its class and all special tokens. A bare ``vocab.txt`` is none.
    Nor is a student's folder: that has a ``tokenizer.json``, or is an older one, which has learned from other words.
    """
    from ..student.spec import SPEC_FILE  # here: it imports this package
    if (folder / SPEC_FILE).is_file():
        return False
    if config.get("tokenizer_class") in _PADDLENLP_CLASSES:
        return True
    if not _TRANSFORMERS_KEYS.isdisjoint(config):
        return False
    model = folder / "config.json"
    settings = read_json(model, "copy the file from the teacher again") if model.is_file() else {}
    if "paddlenlp_version" in settings or "transformers_version" in settings:
        return "paddlenlp_version" in settings
    return ((folder / "model_config.json").is_file() or any(folder.glob("model_state*.pdparams"))
            or _PADDLENLP_KEYS <= config.keys())


def paddlenlp_words() -> pre_tokenizers.PreTokenizer:
    """Return how PaddleNLP parts words: symbols stand alone, as punctuation does, such as those of units and emoji."""
    letters = "\u00ad\u00b2\u00b5\u00ba\u00d8\u014b\u01b1\u3007"  # which it takes for symbols, too
    symbols = pre_tokenizers.Split(Regex(rf"[\p{{S}}\p{{P}}{letters}]"), "isolated")
    return pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), symbols])


def byte_level_bpe(folder: Path, config: Mapping[str, Any], special: Special) -> Tokenizer:
    """Build RoBERTa's tokenizer from ``vocab.json`` and ``merges.txt``."""
    merges = folder / "merges.txt"
    if not merges.is_file():
        raise UserError(f"{merges}: missing; byte-level BPE needs it beside vocab.json, so copy it from the teacher")
    spaced = bool(config.get("add_prefix_space", False))
    built = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(merges)))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)
    built.decoder = decoders.ByteLevel()
    _add_special(built, special)
    built.post_processor = _two_separators(built, special("cls", "<s>"), special("sep", "</s>"), spaced)
    return built


def _two_separators(built: Tokenizer, cls: str, sep: str, spaced: bool = False) -> processors.PostProcessor:
    ends = [(token, built.token_to_id(token)) for token in (sep, cls)]
    if any(place is None for _, place in ends):
        raise UserError(f"the vocabulary has no {cls} or no {sep} token")
    return processors.RobertaProcessing(*ends, add_prefix_space=spaced)


def _add_special(built: Tokenizer, special: Special) -> None:
    names = [special(role, f"<{name}>") for role, name in
             (("cls", "s"), ("pad", "pad"), ("sep", "/s"), ("unk", "unk"), ("mask", "mask"))]
    built.add_special_tokens([AddedToken(name, lstrip=name == names[-1], normalized=False) for name in names])


def xlm_roberta(folder: Path, config: Mapping[str, Any], special: Special) -> Tokenizer:
    """Build XLM-R's tokenizer, or Camembert's, from ``sentencepiece.bpe.model``: fairseq's tokens stand before it."""
    model = _Unigram(folder / "sentencepiece.bpe.model")
    if is_camembert(folder, config):
        first = [("<s>NOTUSED", 0.0), ("<pad>", 0.0), ("</s>NOTUSED", 0.0), ("<unk>", 0.0), ("<unk>NOTUSED", -100.0)]
        vocabulary = first + model.pieces[1:] + [("<mask>", 0.0)]
    else:
        vocabulary = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")] + model.pieces[3:] + [("<mask>", 0.0)]
    built = model.tokenizer(vocabulary, 3, [])
    _add_special(built, special)
    built.post_processor = _template(built, "<s>", "</s>", "{cls} $A {sep} {sep} $B {sep}")
    return built


def is_camembert(folder: Path, config: Mapping[str, Any]) -> bool:
    """Return whether a ``sentencepiece.bpe.model`` is Camembert's, by ``config``, the tokenizer's, or the teacher's."""
    teacher = folder / "config.json"
    settings = read_json(teacher, "copy the file from the teacher again") if teacher.is_file() else {}
    names = (config.get("tokenizer_class"), settings.get("model_type"), settings.get("architectures"))
    return "camembert" in str(names).lower()


def albert(folder: Path, config: Mapping[str, Any], special: Special) -> Tokenizer:
    """Build ALBERT's tokenizer from ``spiece.model``."""
    steps = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not config.get("keep_accents", False):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if config.get("do_lower_case", True):
        steps.append(normalizers.Lowercase())
    return _bert_like(_Unigram(folder / "spiece.model"), steps, "<unk>", "<pad>", special)


def deberta(folder: Path, config: Mapping[str, Any], special: Special) -> Tokenizer:
    """Build DeBERTa-v3's tokenizer from ``spm.model``."""
    steps = [normalizers.Lowercase()] if config.get("do_lower_case", False) else []
    built = _bert_like(_Unigram(folder / "spm.model"), steps, "[UNK]", "[PAD]", special)
    if config.get("split_by_punct", False):
        built.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Punctuation("isolated"), built.pre_tokenizer])
    return built


def _bert_like(model: _Unigram, steps: list, unk: str, pad: str, special: Special) -> Tokenizer:
    built = model.tokenizer(model.pieces, model.unk_id, steps)
    names = [special("cls", "[CLS]"), special("sep", "[SEP]"), special("pad", pad), special("unk", unk),
             special("mask", "[MASK]")]
    built.add_special_tokens([AddedToken(name, lstrip=name == names[-1], normalized=False) for name in names])
    built.post_processor = _template(built, *names[:2], "{cls} $A {sep} $B:1 {sep}:1")
    return built


def _template(built: Tokenizer, cls: str, sep: str, pair: str) -> processors.PostProcessor:
    return processors.TemplateProcessing(
        single=f"{cls} $A {sep}", pair=pair.format(cls=cls, sep=sep),
        special_tokens=[(name, built.token_to_id(name)) for name in (cls, sep)])


class _Unigram:
    """A SentencePiece model, read from its protocol buffer without the library.

    Attributes:
        pieces: with their log-probabilities, by id.
        unk_id: of the piece that stands for what the others can't spell.
    """

    def __init__(self, path: Path):
        try:
            fields = [*_fields(path.read_bytes())]
            trainer = dict(_fields(_last(fields, 2)))
            normalizer = dict(_fields(_last(fields, 3)))
            parts = [dict(_fields(value)) for number, value in fields if number == 1]
            self.pieces = [(part[1].decode(), struct.unpack("<f", part.get(2, bytes(4)))[0]) for part in parts]
            kinds = [part.get(3, 1) for part in parts]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error):
            raise UserError(f"{path}: not a SentencePiece model, or damaged; copy the file from the teacher again") \
                from None
        if trainer.get(3, _UNIGRAM) != _UNIGRAM:
            raise UserError(f"{path}: a SentencePiece model of another kind than Unigram; save the tokenizer with a "
                            "tokenizer.json and copy that file")
        self.unk_id = kinds.index(2) if 2 in kinds else 0
        self._rules, self._bytes = normalizer.get(2, b""), bool(trainer.get(35, 0))

    def tokenizer(self, vocabulary: list[tuple[str, float]], unk_id: int, steps: list) -> Tokenizer:
        """Return the tokenizer that normalises by ``steps``, then by the model's own rules."""
        built = Tokenizer(models.Unigram(vocabulary, unk_id, self._bytes))
        rules = [normalizers.Precompiled(self._rules)] if self._rules else []
        built.normalizer = normalizers.Sequence([*steps, *rules, normalizers.Strip(left=False),
                                                 normalizers.Replace(Regex(" {2,}"), "\u2581")])
        built.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        built.decoder = decoders.Metaspace(prepend_scheme="always")
        return built


def _last(fields: list[tuple[int, Any]], number: int) -> bytes:
    return [value for field, value in fields if field == number][-1]


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a protocol buffer's message: numbers as int, other values as bytes."""
    place = 0
    while place < len(data):
        key, place = _number(data, place)
        kind = key & 7
        if kind == 0:
            value, place = _number(data, place)
        else:
            size = {1: 8, 5: 4}.get(kind)
            if kind == 2:
                size, place = _number(data, place)
            if size is None or place + size > len(data):
                raise ValueError("cut or of an unknown kind")
            value, place = data[place:place + size], place + size
        yield key >> 3, value


def _number(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            return value, place
        if shift > 63:
            raise ValueError("a number without an end")
