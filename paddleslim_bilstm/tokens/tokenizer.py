"""The teacher's WordPiece tokenizer, run by the Rust library ``tokenizers`` (no Paddle needed)."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Iterator, Sequence

import numpy as np
import tokenizers
from tokenizers.implementations import BertWordPieceTokenizer

from ..errors import UserError
from ..storage import read_json
from .framing import Framing
from .sentences import Sentences

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")
_ROWS_PER_CALL = 50_000
_STRANGE_WORD = "\U0010fffd"
_REMEDY = "copy the file from the teacher again"


@dataclass(frozen=True)
class Tokenizer:
    """A BERT-style tokenizer: ``[CLS]`` text ``[SEP]``, words cut into pieces.

    Attributes:
        vocab: the tokens by id.
        pad_id, unk_id, cls_id, sep_id: ids of the special tokens.
        mask_id: id of the mask token, or None where the vocabulary has none.
    """

    rust: tokenizers.Tokenizer
    vocab: list[str]
    pad_id: int
    unk_id: int
    cls_id: int
    sep_id: int
    mask_id: int | None

    def encode(self, texts: Sequence[str] | Sequence[tuple[str, str]]) -> Sentences:
        """Tokenize texts, or pairs of texts, into content tokens, without special tokens or truncation."""
        if len(texts) and not isinstance(texts[0], str):
            return Sentences.from_sides(self.encode([text for pair in texts for text in pair]))
        parts = [Sentences.from_lists([], [])]
        for start in range(0, len(texts), _ROWS_PER_CALL):
            encoded = self.rust.encode_batch(list(texts[start:start + _ROWS_PER_CALL]), add_special_tokens=False)
            word_ids = [one.word_ids for one in encoded]
            starts = [[i == 0 or words[i] != words[i - 1] for i in range(len(words))] for words in word_ids]
            parts.append(Sentences.from_lists([one.ids for one in encoded], starts))
        return Sentences.concatenate(parts)

    @cached_property
    def framing(self) -> Framing:
        """How BERT reads what this tokenizer gives: ``input_ids`` and ``token_type_ids``."""
        return Framing.of(self)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the tokens of ``ids`` as text, word pieces joined."""
        return self.rust.decode(np.asarray(ids).tolist(), skip_special_tokens=False)


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Load the tokenizer from ``tokenizer.json``, or from ``vocab.txt`` with ``tokenizer_config.json``.

    Raises:
        UserError: the folder holds neither file, one is damaged, or the vocabulary lacks a special token.
    """
    folder = Path(folder)
    config_file = folder / "tokenizer_config.json"
    config = read_json(config_file, _REMEDY) if config_file.is_file() else {}
    if (folder / "tokenizer.json").is_file():
        with _damage_named(folder / "tokenizer.json"):
            rust = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            rust.no_padding()
            rust.no_truncation()
            rust.encode(_STRANGE_WORD)  # some faults show only where a word is unknown
    elif (folder / "vocab.txt").is_file():
        with _damage_named(folder / "vocab.txt"):
            rust = _wordpiece_from_vocab(folder / "vocab.txt", config)
    else:
        raise UserError(f"{folder}: no tokenizer files; copy the teacher's vocab.txt (or tokenizer.json) there, "
                        "or name their folder as Global.tokenizer_dir")
    ids = {name: rust.token_to_id(_special_token(config, name)) for name in ("pad", "unk", "cls", "sep", "mask")}
    for name in ("pad", "unk", "cls", "sep"):
        if ids[name] is None:
            raise UserError(f"{folder}: the vocabulary has no {_special_token(config, name)} token; "
                            "use the tokenizer files that the teacher was trained with")
    vocab = sorted(rust.get_vocab(with_added_tokens=True), key=rust.token_to_id)
    return Tokenizer(rust, vocab, **{f"{name}_id": value for name, value in ids.items()})


def _wordpiece_from_vocab(path: Path, config: dict) -> tokenizers.Tokenizer:
    lower = config.get("do_lower_case", True)
    built = BertWordPieceTokenizer(str(path), unk_token=_special_token(config, "unk"),
                                   sep_token=_special_token(config, "sep"), cls_token=_special_token(config, "cls"),
                                   pad_token=_special_token(config, "pad"), mask_token=_special_token(config, "mask"),
                                   lowercase=lower, strip_accents=config.get("strip_accents"),
                                   handle_chinese_chars=config.get("tokenize_chinese_chars", True))
    return built._tokenizer


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turn whatever the Rust library raises, even a panic, into one line about ``path``."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, (UserError, KeyboardInterrupt, MemoryError)):
            raise
        raise UserError(f"{path}: can't be loaded ({error}); {_REMEDY}") from None


def _special_token(config: dict, name: str) -> str:
    token = config.get(f"{name}_token") or f"[{name.upper()}]"
    token = token.get("content") if isinstance(token, dict) else token
    if not isinstance(token, str):
        raise UserError(f"tokenizer_config.json: {name}_token is {token!r}, not a text; {_REMEDY}")
    return token
