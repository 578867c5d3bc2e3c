"""Many files of texts to as many files of answers, by several processes, going on where an earlier run has ended."""

from __future__ import annotations

import glob
import importlib.util
import json
import signal
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

from .. import ranks
from ..errors import UserError
from ..progress import progress_bar
from ..storage import (
    checksum,
    explained_write_errors,
    make_writable_folder,
    read_sealed_json,
    remove_leftovers,
    whole_file,
    write_json,
    write_sealed_json,
)
from ..student.spec import READING_FILES, SPEC_FILE
from ..text.rows import check_surrogates, known_pair
from .lines import open_input, texts_of
from .predictor import Predictor, Text, chosen_model

SUMMARY_FILE = "summary.json"
_RECORDS = ".done"
_PARQUET = ".parquet"
_FORMAT = 5  # of records: counts up when the same input would give other answers
_ROWS = 4096  # of a Parquet file at a time


@dataclass(frozen=True)
class ShardJob:
    """How shards are answered: the student's folder, how its `Predictor` is made, and how lines are read."""

    student: str
    runtime: str | None
    threads: int
    batch_size: int
    jsonl: bool
    keys: tuple[str, ...]
    folder: Path


def inputs_of(pattern: str, answers: Path) -> list[Path]:
    """Return the files that a pattern, a folder or a name stands for, in order.

    Not those in the folder ``answers`` that an earlier run has written, which a pattern or a folder may hold, too.

    Raises:
        UserError: there is none, or two of them have one name.
    """
    place = Path(pattern)  # which may have brackets in its name
    found = (sorted(place.iterdir()) if place.is_dir() else [place] if place.is_file()
             else map(Path, sorted(glob.glob(pattern))))
    files = [file for file in found if file.is_file() and not file.name.startswith(".")
             and (place.is_file() or not _is_ours(file, answers))]
    if not files:
        raise UserError(f"--input: no file is called {pattern}; put a pattern in quotes, such as 'shards/*.jsonl'")
    twice = [name for name, times in Counter(_answers_name(file) for file in files).items() if times > 1]
    if twice:
        raise UserError(f"--input: the answers to two of the files would be called {twice[0]}; give them names of "
                        "their own")
    return files


def answer_shards(job: ShardJob, inputs: Sequence[Path], processes: int = 1) -> dict[str, Any] | None:
    """Answer each file in ``inputs`` with one of its name in ``job.folder``: whole, or not there.

    A file whose answers are there, by the same student, is left out; the rest is shared by ``processes`` processes and
    by the ranks, of which rank ``r`` of ``n`` takes the files ``r``, ``r + n``, ... Beside the answers to all files
    stands `SUMMARY_FILE`.

    Returns:
        The summary, or None while other ranks are still at work.

    Raises:
        UserError: answers would take the place of an input or of a file of the user's; a file can't be read, or a
            line is none: the answers to other files stay.
    """
    _check_targets(job, inputs)
    make_writable_folder(job.folder / _RECORDS, "--output")
    if ranks.is_first():
        remove_leftovers(job.folder)
    identity = checksum(_FORMAT, *_student_files(job), job.batch_size, job.jsonl, job.keys)
    own = list(inputs)[ranks.rank()::ranks.count()]
    missing = [file for file in own if _record(job.folder, file, identity) is None]
    with explained_write_errors(job.folder), progress_bar("predict", len(own), "files") as bar:
        bar.update(len(own) - len(missing))
        bar.initial = len(own) - len(missing)
        for _ in _answered(job, missing, identity, processes):
            bar.update(1)
    return _summary(job, inputs, identity)


def _check_targets(job: ShardJob, inputs: Sequence[Path]) -> None:
    """Refuse to write over an input, or over what isn't ours."""
    theirs = {file.resolve() for file in inputs}
    for target in (*(job.folder / _answers_name(file) for file in inputs), job.folder / SUMMARY_FILE):
        if target.resolve() in theirs:
            raise UserError(f"--output: the answers would take the place of {target}, an input; name another folder")
        if target.exists() and not _is_ours(target, job.folder):
            raise UserError(f"--output: {target} is there and holds no answers of ours; name another folder")


def _is_ours(file: Path, folder: Path) -> bool:
    """Return whether a file holds answers that were written into ``folder``, or is the summary of such."""
    records = folder / _RECORDS
    known = records.is_dir() if file.name == SUMMARY_FILE else _record_file(folder, file.name).exists()
    return known and file.parent.resolve() == folder.resolve()


def _student_files(job: ShardJob) -> list[Path]:
    """Return the files on which an answer depends."""
    model, student = chosen_model(job.student, job.runtime), Path(job.student)
    weights = [model.with_suffix(".pdiparams")] if model.suffix == ".pdmodel" else []
    return [model, *weights, student / SPEC_FILE,
            *(file for name in READING_FILES if (file := student / name).is_file())]


def _answered(job: ShardJob, files: list[Path], identity: str, processes: int) -> Iterator[None]:
    if processes == 1 or len(files) < 2:
        predictor = None
        for file in files:
            predictor = predictor or Predictor(job.student, job.runtime, job.threads)
            yield _answer(job, file, identity, predictor)
        return
    # a process that is forked after ONNX Runtime was loaded hangs
    with ProcessPoolExecutor(min(processes, len(files)), get_context("spawn"), _begin) as pool:
        try:
            for done in as_completed([pool.submit(_answer, job, file, identity) for file in files]):
                yield done.result()
        except BaseException as error:
            for process in active_children():
                process.terminate()
            if isinstance(error, BrokenProcessPool):
                raise UserError("--processes: one was killed, perhaps for want of memory; name fewer") from None
            raise


_own: list[Predictor] = []  # of a process of the pool


def _begin() -> None:
    """Nothing that may fail: what is raised here looks like a process that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that waits for this one ends it


def _answer(job: ShardJob, file: Path, identity: str, predictor: Predictor | None = None) -> None:
    """Answer a file and write its record, before the answers one that says whose they will be."""
    if predictor is None:
        if not _own:
            _own.append(Predictor(job.student, job.runtime, job.threads))
        predictor = _own[0]
    started, counts, texts = time.perf_counter(), Counter(), 0
    target = job.folder / _answers_name(file)
    before, record = _state(file), _record_file(job.folder, target.name)
    if not record.exists():
        write_sealed_json(record, {})
    of_file = (_parquet_texts if file.suffix == _PARQUET else _line_texts)(job, file, predictor.pairs)

    def rows_of(some: list[Text]) -> list[dict]:
        return [{"text": text, **answer.as_json(predictor.label_names)}
                for text, answer in zip(some, predictor.predict(some, job.batch_size))]

    with whole_file(target) as partial, \
            _writer(partial, target.suffix, lambda: rows_of([("", "") if predictor.pairs else ""])) as write:
        for some in of_file:
            rows = rows_of(some)
            for row in rows:
                counts.update(row.get("labels") or ([row["label"]] if "label" in row else []))
            texts += len(rows)
            write(rows)
    write_sealed_json(record, {
        "identity": identity, "input": before, "texts": texts, "answers": dict(sorted(counts.items())),
        "seconds": round(time.perf_counter() - started, 3)})


def _line_texts(job: ShardJob, file: Path, pairs: bool) -> Iterator[list[Text]]:
    with open_input(str(file)) as stream:
        yield from texts_of(stream, str(file), job.jsonl, pairs, job.keys)


def _parquet_texts(job: ShardJob, file: Path, pairs: bool) -> Iterator[list[Text]]:
    parquet = _pyarrow(file)
    try:
        opened = parquet.ParquetFile(file)
        names = opened.schema_arrow.names
        keys = job.keys or ((known_pair(names, str(file), "--text-key") or ()) if pairs else ("text",))
        missing = [key for key in keys if key not in names]
        if missing or len(keys) != (2 if pairs else 1):
            raise UserError(f"{file}: has no column {missing[0]!r}; name it with --text-key" if missing else
                            f"{file}: holds no two texts with usual names; name their columns with --text-key, twice")
        number = 0
        for batch in opened.iter_batches(_ROWS, columns=list(keys)):
            columns = [batch.column(key).to_pylist() for key in keys]
            for row in zip(*columns):
                number += 1
                for key, text in zip(keys, row):
                    if not isinstance(text, str):
                        raise UserError(f"{file}: row {number} holds no text under {key!r}")
                    check_surrogates(text, f"{file}: row {number}")
            yield list(zip(*columns)) if pairs else columns[0]
    except (OSError, ValueError) as error:  # pyarrow's own are among these
        raise UserError(f"{file}: not a Parquet file ({error})") from None


@contextmanager
def _writer(path: Path, suffix: str, example: Callable[[], list[dict]]) -> Iterator[Callable[[list[dict]], None]]:
    """Yield what writes rows of answers to ``path``, in the format that ``suffix`` names.

    Of ``example`` a table without rows has the columns that others have.
    """
    if suffix != _PARQUET:
        with open(path, "w", encoding="utf-8") as file:
            yield lambda rows: file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        return
    import pyarrow
    parquet, writers = _pyarrow(path), []

    def open_for(rows: list[dict]) -> None:
        schema = pyarrow.Table.from_pylist(rows).schema
        if "labels" in schema.names:  # which the first rows may have none of
            labels = pyarrow.field("labels", pyarrow.list_(pyarrow.string()))
            schema = schema.set(schema.get_field_index("labels"), labels)
        writers.append(parquet.ParquetWriter(path, schema))

    def write(rows: list[dict]) -> None:
        if not writers:
            open_for(rows)
        writers[0].write_table(pyarrow.Table.from_pylist(rows, writers[0].schema))

    try:
        yield write
        if not writers:
            open_for(example())
    finally:
        for writer in writers:
            writer.close()


def _pyarrow(file: Path) -> Any:
    if importlib.util.find_spec("pyarrow") is None:
        raise UserError(f"{file}: Parquet files need pyarrow: pip install pyarrow")
    import pyarrow.parquet
    return pyarrow.parquet


def _answers_name(file: Path) -> str:
    """``part-0.txt -> part-0.jsonl``, ``part-0.parquet -> part-0.parquet``."""
    return file.stem + (_PARQUET if file.suffix == _PARQUET else ".jsonl")


def _state(file: Path) -> list:
    """Return what tells whether a file has changed; reading a billion texts to find out would take too long."""
    found, name = file.stat(), str(file.resolve())
    return [name.encode(errors="backslashreplace").decode(), found.st_size, found.st_mtime_ns]


def _record_file(folder: Path, answers: str) -> Path:
    return folder / _RECORDS / f"{answers}.json"


def _record(folder: Path, file: Path, identity: str) -> dict[str, Any] | None:
    """Return the record of a file whose answers are there, or None."""
    name = _answers_name(file)
    try:
        record = read_sealed_json(_record_file(folder, name))
    except (OSError, ValueError):
        return None
    same = record.get("identity") == identity and record.get("input") == _state(file) and (folder / name).is_file()
    return record if same else None


def _summary(job: ShardJob, inputs: Sequence[Path], identity: str) -> dict[str, Any] | None:
    records = [_record(job.folder, file, identity) for file in inputs]
    if None in records:
        return None
    counts: Counter = Counter()
    for record in records:
        counts.update(record["answers"])
    seconds = sum(record["seconds"] for record in records)
    texts = sum(record["texts"] for record in records)
    summary = {"files": len(records), "texts": texts, "answers": dict(sorted(counts.items())),
               "seconds_of_all_processes": round(seconds, 3),
               "texts_per_s_and_process": round(texts / seconds, 1) if seconds else None}
    write_json(job.folder / SUMMARY_FILE, summary)
    return summary
