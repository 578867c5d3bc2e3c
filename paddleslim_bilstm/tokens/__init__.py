"""Text to token ids: the tokenizer of the teacher's folder, and sentences as flat arrays."""

from .sentences import Sentences, cut_pair, offsets_of, spans
from .tokenizer import TOKENIZER_FILES, Tokenizer, load_tokenizer

__all__ = ["Sentences", "TOKENIZER_FILES", "Tokenizer", "cut_pair", "load_tokenizer", "offsets_of", "spans"]
