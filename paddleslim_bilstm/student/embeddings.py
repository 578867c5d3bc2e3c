"""The student's first embeddings: the teacher's, word vectors of others, or random ones."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

import numpy as np

from ..errors import UserError, reason_in_short
from ..host.versions import need_paddlenlp
from ..progress import progress_bar

_log = logging.getLogger(__name__)

_SETTING = "bert_to_bilstm.student.embeddings"
_LINES_PER_UPDATE = 10_000
_LINES_DECODED = 1000  # of word vectors, whose words should be UTF-8


def read_word_vectors(source: str, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors that ``source`` has for ``words``.

    Args:
        source: path of a text file, or the name of a PaddleNLP ``TokenEmbedding``, which is downloaded once.

    Returns:
        ``vectors`` float32 ``[words, dimension]``, zero where there is none, and ``found`` bool ``[words]``.

    Raises:
        UserError: no such file or name, a malformed line, a file in another encoding than UTF-8, or none of ``words``
            is in it.
    """
    vectors, found = _from_text(Path(source), words) if Path(source).is_file() else _from_paddlenlp(source, words)
    if not found.any():
        raise UserError(f"{_SETTING}: {source} has none of the student's {len(words):,} words; is it another "
                        "language's, or are its words in capitals?")
    return vectors, found


def check_word_vectors(source: str) -> None:
    """Check that ``source`` is a file that is there, or a name that PaddleNLP knows.

    Raises:
        UserError: it is neither.
    """
    if Path(source).is_file():
        return
    need_paddlenlp(f"{_SETTING}: {source} is no file, and a TokenEmbedding's name", "name a file with word vectors")
    from paddlenlp.embeddings.constant import EMBEDDING_NAME_LIST  # slow to import, so only where needed
    if source not in EMBEDDING_NAME_LIST:
        raise UserError(f"{_SETTING}: {source} is neither a file nor one of PaddleNLP's TokenEmbedding names "
                        "(paddlenlp.embeddings.list_embedding_name()); or take teacher or random")


def _from_text(path: Path, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read lines ``word number number ...``, with or without word2vec's first line ``count dimension``.

    The first vector of a word counts. Words may hold spaces, as a few in GloVe's files do. Every line's length is
    checked, the numbers only of lines that are used. A few words may be broken UTF-8, but not most of the first ones,
    nor one of them where no word is found.
    """
    rows = {word.encode("utf-8", "surrogatepass"): row for row, word in enumerate(words)}
    vectors, found = None, np.zeros(len(words), bool)
    decoded, strange = 0, []
    with open(path, "rb") as file, progress_bar("read word vectors", path.stat().st_size, "bytes") as bar:
        for number, line in enumerate(file, 1):
            if number % _LINES_PER_UPDATE == 0:
                bar.update(file.tell() - bar.n)
            if vectors is None:
                dimension, is_header = _dimension(line, f"{path}:{number}")
                vectors = np.zeros((len(words), dimension), np.float32)
                if is_header:
                    continue
            fields = line.rsplit(None, dimension)
            if not fields:
                continue
            if len(fields) <= dimension:
                raise UserError(f"{path}:{number}: has {len(fields) - 1} numbers behind its word, not {dimension} as "
                                "the lines before it; the file may be cut off")
            if number <= _LINES_DECODED:
                decoded += 1
                strange += [] if _is_utf8(fields[0]) else [number]
            row = rows.get(fields[0])
            if row is not None and not found[row]:
                vectors[row], found[row] = _numbers(fields[1:], f"{path}:{number}"), True
    if 2 * len(strange) > decoded or strange and not found.any():
        raise UserError(f"{path}:{strange[0]}: is not UTF-8; save the file as UTF-8 (`iconv -f GB18030 -t UTF-8` makes "
                        "it of one in GBK)")
    if vectors is None:
        raise UserError(f"{path}: is empty; name a file with lines \"word number number ...\"")
    return vectors, found


def _is_utf8(word: bytes) -> bool:
    try:
        word.decode()
    except UnicodeDecodeError:
        return False
    return True


def _dimension(line: bytes, where: str) -> tuple[int, bool]:
    """Return the length of the vectors, and whether the file's first line is word2vec's ``count dimension``."""
    fields = line.split()
    if len(fields) == 2 and all(field.isdigit() for field in fields) and int(fields[1]):
        return int(fields[1]), True
    if len(fields) < 2:
        raise UserError(f"{where}: must be \"word number number ...\"; name a GloVe or word2vec text file")
    _numbers(fields[1:], where)
    return len(fields) - 1, False


def _numbers(fields: Sequence[bytes], where: str) -> np.ndarray:
    try:
        numbers = np.array([float(field) for field in fields], np.float32)
    except ValueError:
        numbers = np.array([np.nan], np.float32)
    if not np.isfinite(numbers).all():
        raise UserError(f"{where}: has something other than finite numbers behind its word; name a GloVe or word2vec "
                        "text file, or mend the line")
    return numbers


def _from_paddlenlp(name: str, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read what ``paddlenlp.embeddings.TokenEmbedding(name)`` holds, without its 1.26 million rows as a layer."""
    from paddle.utils.download import get_path_from_url
    from paddlenlp.embeddings.constant import EMBEDDING_URL_ROOT
    from paddlenlp.embeddings.token_embedding import EMBEDDING_HOME

    path = Path(EMBEDDING_HOME) / f"{name}.npz"
    try:
        if not path.is_file():
            _log.info("%s: downloads %s", _SETTING, name)
            get_path_from_url(f"{EMBEDDING_URL_ROOT}/{name}.tar.gz", EMBEDDING_HOME)
        with np.load(path, allow_pickle=False) as arrays:
            known, table = arrays["vocab"], arrays["embedding"]
    except Exception as error:  # downloads and archives fail in many ways
        raise UserError(f"{_SETTING}: PaddleNLP's {name} can't be had ({reason_in_short(error)}); check the network, "
                        f"remove {path} if it is damaged, or name a file with word vectors") from None
    rows = {word: row for row, word in enumerate(known.tolist())}
    places = np.array([rows.get(word, -1) for word in words])
    found = places >= 0
    return np.where(found[:, None], table[places], 0).astype(np.float32), found


TEACHER, RANDOM = "teacher", "random"  # settings beside the names and files of word vectors
_MOST_UNITS = 384  # of the teacher's that the student's embedding is projected from


def embedding_base(teacher_embeddings: np.ndarray, embed_dim: int) -> np.ndarray:
    """Return the teacher's embeddings, turned so that the units that vary most come first.

    Its first ``embed_dim`` columns are what a student's embedding starts from; in training it is a projection of all.

    Args:
        teacher_embeddings: float32 ``[rows, teacher units]``, the rows that the student keeps.

    Returns:
        float32 ``[rows, units]``: the teacher's units, 384 at most, or ``embed_dim`` where that is more.
    """
    return project_embeddings(teacher_embeddings, max(embed_dim, min(_MOST_UNITS, teacher_embeddings.shape[1])))


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


@dataclass(frozen=True)
class FirstEmbedding:
    """What a student's embedding starts from.

    Attributes:
        values: float32 ``[rows, embed_dim]``, or None for random ones.
        base: what it is a projection of while the student learns from its teacher (`embedding_base`); ``values`` are
            its first columns. None where the teacher's embeddings are not its source.
        notes: what to say of it in the report.
    """

    values: np.ndarray | None = None
    base: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def first_embedding(source: str, words: Sequence[str], teacher_embeddings: np.ndarray | None, embed_dim: int,
                    rng: np.random.Generator) -> FirstEmbedding:
    """Return what the student's embedding starts from.

    Args:
        source: `TEACHER`, `RANDOM`, a text file with word vectors, or the name of a PaddleNLP ``TokenEmbedding``.
        words: of each row, what to look for among word vectors.
        teacher_embeddings: of each row, float32 ``[rows, teacher units]``, or None where they can't be had.

    Raises:
        UserError: as `read_word_vectors`.
    """
    if source == TEACHER and teacher_embeddings is not None:
        base = embedding_base(teacher_embeddings, embed_dim)
        return FirstEmbedding(base[:, :embed_dim], base)
    if source == TEACHER:
        note = ("The teacher's word embeddings can't be had, so the student's started from random ones; word vectors "
                f"({_SETTING}) may be better.")
        _log.warning("%s", note)
        return FirstEmbedding(notes=(note,))
    if source == RANDOM:
        return FirstEmbedding()
    values, note = _from_word_vectors(source, words, embed_dim, rng)
    _log.info("%s", note)
    return FirstEmbedding(values, notes=(note,))


def _from_word_vectors(source: str, words: Sequence[str], embed_dim: int,
                       rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Return embeddings from word vectors, and a note on how many words have one.

    Words that ``source`` doesn't have are drawn from the normal distribution, with each column's mean and deviation
    over those that it has. Vectors of ``embed_dim`` numbers stay as they are, as in the tutorial; others are projected
    by `project_embeddings`.
    """
    distinct = {word: place for place, word in enumerate(dict.fromkeys(words))}  # a word may have two tokens
    vectors, found = read_word_vectors(source, list(distinct))
    places = [distinct[word] for word in words]
    vectors, found = vectors[places], found[places]
    missing = len(words) - int(found.sum())
    drawn = rng.standard_normal((missing, vectors.shape[1]))
    vectors[~found] = vectors[found].mean(0) + drawn * vectors[found].std(0)
    note = (f"{source} has vectors for {found.sum():,} of the student's {len(words):,} words; the others were drawn at "
            "random.")
    if vectors.shape[1] != embed_dim:
        note += f" The vectors were projected from {vectors.shape[1]} to {embed_dim} numbers."
        vectors = project_embeddings(vectors, embed_dim)
    return vectors, note
