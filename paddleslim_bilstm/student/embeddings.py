"""The student's first embeddings: the teacher's, word vectors of others, or random ones."""

from __future__ import annotations

import logging
from typing import Sequence

import numpy as np

from .word_vectors import check_word_vectors, read_word_vectors

_log = logging.getLogger(__name__)

TEACHER, RANDOM = "teacher", "random"  # settings beside the names and files of word vectors


def project_embeddings(teacher_embeddings: np.ndarray, embed_dim: int) -> np.ndarray:
    """Project word embeddings to ``embed_dim`` by their principal components, and scale them to variance 0.01.

    Where ``embed_dim`` exceeds what the teacher has, the remaining columns are zero.

    Args:
        teacher_embeddings: float32 ``[rows, teacher units]``, the rows that the student keeps.

    Returns:
        float32 ``[rows, embed_dim]``.
    """
    centred = teacher_embeddings.astype(np.float64) - teacher_embeddings.mean(0)
    _, components = np.linalg.eigh(centred.T @ centred)
    projected = centred @ components[:, ::-1][:, :embed_dim]
    projected *= 0.1 / max(projected.std(), 1e-12)
    missing = embed_dim - projected.shape[1]
    return np.pad(projected, ((0, 0), (0, max(missing, 0)))).astype(np.float32)


def check_embeddings(source: str) -> None:
    """Check the setting of `first_embedding` before any work.

    Raises:
        UserError: it is no known word, file or name.
    """
    if source not in (TEACHER, RANDOM):
        check_word_vectors(source)


def first_embedding(source: str, words: Sequence[str], teacher_embeddings: np.ndarray, embed_dim: int,
                    rng: np.random.Generator) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return what the student's embedding starts from, and what to say of it in the report.

    Args:
        source: `TEACHER`, `RANDOM`, a text file with word vectors, or the name of a PaddleNLP ``TokenEmbedding``.
        words: of each row, what to look for among word vectors.
        teacher_embeddings: of each row, float32 ``[rows, teacher units]``.

    Returns:
        float32 ``[rows, embed_dim]``, or None for random values; and notes.

    Raises:
        UserError: as `read_word_vectors`.
    """
    if source == TEACHER:
        return project_embeddings(teacher_embeddings, embed_dim), ()
    if source == RANDOM:
        return None, ()
    embedding, note = _from_word_vectors(source, words, embed_dim, rng)
    _log.info("%s", note)
    return embedding, (note,)


def _from_word_vectors(source: str, words: Sequence[str], embed_dim: int,
                       rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Return embeddings from word vectors, and a note on how many words have one.

    Words that ``source`` doesn't have are drawn from the normal distribution, with each column's mean and deviation
    over those that it has. Vectors of ``embed_dim`` numbers stay as they are, as in the tutorial; others are projected
    by `project_embeddings`.
    """
    vectors, found = read_word_vectors(source, words)
    missing = len(words) - int(found.sum())
    drawn = rng.standard_normal((missing, vectors.shape[1]))
    vectors[~found] = vectors[found].mean(0) + drawn * vectors[found].std(0)
    note = (f"{source} has vectors for {found.sum():,} of the student's {len(words):,} words; the others were drawn at "
            "random.")
    if vectors.shape[1] != embed_dim:
        note += f" The vectors were projected from {vectors.shape[1]} to {embed_dim} numbers."
        vectors = project_embeddings(vectors, embed_dim)
    return vectors, note
