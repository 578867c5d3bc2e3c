"""Content token ids of texts for serving: what the Rust tokenizer says of a word is asked once."""

from __future__ import annotations

import re
from itertools import chain
from typing import Sequence

import tokenizers
from tokenizers.pre_tokenizers import BertPreTokenizer

from .older_files import paddlenlp_words

_WORD = re.compile(r"[0-9A-Za-z]+|[^0-9A-Za-z ]")  # BERT's words in printable ASCII
_MOST_WORDS, _LONGEST_WORD = 50_000, 30
_PARTS = {"model": "WordPiece", "normalizer": "BertNormalizer"}
_PRE_TOKENIZERS = [one.__getstate__() for one in (BertPreTokenizer(), paddlenlp_words())]  # in ASCII they are the same


class KnownWords:
    """Tokenizes texts as ``rust`` does, several times faster where it has met all words of a text before.

    That holds for BERT's own tokenizers (WordPiece, which cuts words one by one) and texts in printable ASCII in which
    no added token such as ``[MASK]`` can stand; all others go to ``rust``. May be used from several threads at once.
    """

    def __init__(self, rust: tokenizers.Tokenizer):
        self._pieces: dict[str, tuple[int, ...]] = {}
        added_tokens = getattr(rust, "get_added_tokens_decoder", None)  # since tokenizers 0.15
        self._word_by_word = bool(added_tokens) and all(
            type(getattr(rust, part)).__name__ == name for part, name in _PARTS.items()) \
            and rust.pre_tokenizer is not None and rust.pre_tokenizer.__getstate__() in _PRE_TOKENIZERS
        added = {token.content for token in added_tokens().values()} if self._word_by_word else set()
        # as they are written, and as the normalizer makes them: an added token is sought in either
        added = {text[:1] for one in added for text in (one, rust.normalizer.normalize_str(one))}
        # the fast one, since tokenizers 0.20, doesn't tell of which word a token is
        fast = getattr(rust, "encode_batch_fast", rust.encode_batch)
        self._encode = rust.encode_batch if self._word_by_word else fast
        self._odd = frozenset("".join(added) + "".join(added).swapcase())

    def ids(self, texts: Sequence[str], all_cores: bool = False) -> list[list[int]]:
        """Return the token ids of each text, without special tokens and truncation.

        Args:
            all_cores: let ``rust`` share the texts that it is asked for among a thread a core.
        """
        found = [self._known(text) for text in texts] if self._word_by_word else [None] * len(texts)
        asked = [text for text, ids in zip(texts, found) if ids is None]
        if not asked:
            return found
        if all_cores:
            encoded = iter(self._encode(asked, add_special_tokens=False))
        else:  # a batch of one keeps the Rust library from starting a thread a core
            encoded = (self._encode([text], add_special_tokens=False)[0] for text in asked)
        return [self._learned(text, next(encoded)) if ids is None else ids for text, ids in zip(texts, found)]

    def _known(self, text: str) -> list[int] | None:
        try:
            return list(chain.from_iterable(map(self._pieces.__getitem__, _WORD.findall(text))))
        except KeyError:
            return None

    def _learned(self, text: str, encoded: tokenizers.Encoding) -> list[int]:
        """Keep the pieces of each word of a plain text. What is in no plain text is in no known word either."""
        ids = encoded.ids
        if self._word_by_word and text.isascii() and text.isprintable() and self._odd.isdisjoint(text):
            words, pieces = _WORD.findall(text), []
            if len(words) > _MOST_WORDS:
                return ids
            for token, word in zip(ids, encoded.word_ids):
                if word == len(pieces):
                    pieces.append(())
                pieces[word] += (token,)
            if len(pieces) == len(words):
                if len(self._pieces) > _MOST_WORDS:
                    self._pieces.clear()
                self._pieces.update((word, its) for word, its in zip(words, pieces) if len(word) <= _LONGEST_WORD)
        return ids
