"""The quickstart's review corpus, made on the spot: ``python -m paddleslim_bilstm.quickstart FOLDER``."""

from .corpus import Corpus, make_corpus, write_corpus

__all__ = ["Corpus", "make_corpus", "write_corpus"]
