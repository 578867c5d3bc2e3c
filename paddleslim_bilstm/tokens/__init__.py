"""Text to token ids: the tokenizer of the teacher's folder, and sentences as flat arrays."""

from .sentences import Sentences, offsets_of, spans
from .tokenizer import TOKENIZER_FILES, Tokenizer, load_tokenizer

__all__ = ["Sentences", "TOKENIZER_FILES", "Tokenizer", "load_tokenizer", "offsets_of", "spans"]
