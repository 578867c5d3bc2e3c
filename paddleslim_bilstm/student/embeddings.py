"""The student's first embeddings: the teacher's, projected to the student's width."""

from __future__ import annotations

import numpy as np


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
