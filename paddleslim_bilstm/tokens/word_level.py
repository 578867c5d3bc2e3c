"""A tokenizer of whole words, made from the training text where no teacher brings one."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Sequence

from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, normalizers, pre_tokenizers, trainers

from ..errors import UserError
from ..storage import whole_file

_SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_NO_LIMIT = 2**31 - 1
_LEAST_COUNT = 2  # that the settings allow


def write_word_tokenizer(texts: Sequence[str] | Sequence[tuple[str, str]], min_count: int, folder: str | Path) -> None:
    """Write ``tokenizer.json`` of the words that occur in ``texts``, or pairs of texts, at least ``min_count`` times.

    Words are cut as BERT cuts them: lower case, without accents, punctuation and each Chinese character by itself. The
    commonest come first behind the special tokens; rarer ones are ``[UNK]``. The same texts give the same file.

    Raises:
        UserError: no word occurs so often.
    """
    rust = RustTokenizer(models.WordLevel({}, unk_token="[UNK]"))
    rust.normalizer = normalizers.BertNormalizer()
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordLevelTrainer(vocab_size=_NO_LIMIT, min_frequency=min_count, show_progress=False,
                                        special_tokens=_SPECIAL_TOKENS)
    pairs = len(texts) > 0 and not isinstance(texts[0], str)
    rust.train_from_iterator(chain.from_iterable(texts) if pairs else texts, trainer)
    if rust.get_vocab_size() == len(_SPECIAL_TOKENS):
        raise no_common_word(min_count, "name a tokenizer as Global.tokenizer_dir")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / "tokenizer.json") as partial:
        rust.save(str(partial))


def no_common_word(min_count: int, otherwise: str) -> UserError:
    """Return the error that no word of the training text occurs ``min_count`` times, with what else can be done."""
    remedy = "lower it" if min_count > _LEAST_COUNT else "add text"
    return UserError(f"bert_to_bilstm.student.min_count: no word of the training text occurs {min_count} times; "
                     f"{remedy}, or {otherwise}")
