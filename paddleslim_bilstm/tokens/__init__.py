"""Text to token ids: the tokenizer of the teacher's folder, sentences as flat arrays, and what models read of them."""

from .framing import BERT_FEEDS, Feed, Framing, Reader
from .sentences import Sentences, cut_pair, offsets_of, spans
from .tokenizer import TOKENIZER_FILES, Tokenizer, copy_tokenizer, has_tokenizer, load_tokenizer

__all__ = ["BERT_FEEDS", "Feed", "Framing", "Reader", "Sentences", "TOKENIZER_FILES", "Tokenizer",
           "copy_tokenizer", "cut_pair", "has_tokenizer", "load_tokenizer", "offsets_of", "spans"]
