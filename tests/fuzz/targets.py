"""What is fuzzed, and what must hold: a valid result, or one clear line; never anything else.

Each check takes a :class:`~fuzz.workshop.Workshop` and a case, and says whether the case was ``accepted`` or
``refused`` with a :class:`~paddleslim_bilstm.errors.UserError`; whatever else comes out of the program fails the case.
"""

from __future__ import annotations

import io
import json
import logging
import math
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Iterator
from unittest import mock

import numpy as np
from hypothesis import strategies as st

from paddleslim_bilstm import cli
from paddleslim_bilstm.config import GlobalConfig, load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.predict import Predictor
from paddleslim_bilstm.text import load_dataset

from . import inputs
from .workshop import ONNX_FILES, STUDENT_FILES, TEACHER_FILES, TOKENIZER_KINDS, Workshop

ACCEPTED, REFUSED = "accepted", "refused"


@dataclass(frozen=True)
class Target:
    """Cases, and the property that each of them must have."""

    cases: st.SearchStrategy
    check: Callable[[Workshop, Any], str]


def _one_line(error: UserError) -> str:
    assert str(error) and len(str(error).splitlines()) == 1, f"not one line: {error}"
    return REFUSED


def settings(workshop: Workshop, case: tuple[bytes | dict, list[str]]) -> str:
    """A configuration is refused, or written out and read back it is the same."""
    source, overrides = case
    if isinstance(source, bytes):
        source = workshop.put("run.yaml", source)
    try:
        config = load_config(source, overrides)
    except UserError as error:
        return _one_line(error)
    written = json.dumps(config.to_dict(), sort_keys=True)
    assert json.dumps(load_config(json.loads(written)).to_dict(), sort_keys=True) == written
    return ACCEPTED


def preparation(workshop: Workshop, case: dict) -> str:
    """What `compress` checks before any work: hooks, losses, optimizer, PaddleSlim's strategies."""
    from paddleslim_bilstm.pipeline import prepare
    try:
        prepare(case, [f"Global.save_dir={workshop.desk / 'out'}", "Global.model_dir=teacher"])
    except UserError as error:
        return _one_line(error)
    return ACCEPTED


def data_files(workshop: Workshop, case: tuple[tuple[bytes, str], int | None, bool, str]) -> str:
    """A file becomes texts without odd characters and labels within the classes, or is refused."""
    (content, suffix), num_classes, labelled, task = case
    path = str(workshop.put(f"train{suffix}", content))
    return _dataset(GlobalConfig(train_file=path, dev_file=path, task=task), num_classes, labelled)


def rows(workshop: Workshop, case: tuple[list, list, str]) -> str:
    """The same for rows handed over in Python."""
    train, dev, task = case
    return _dataset(GlobalConfig(task=task), 2, True, train=train, dev=dev)


def _dataset(config: GlobalConfig, num_classes: int | None, labelled: bool, **given: Any) -> str:
    try:
        data = load_dataset(config, num_classes, require_train_labels=labelled, **given)
    except UserError as error:
        return _one_line(error)
    for text in [*data.train_texts, *data.dev_texts]:
        assert text == text.strip() and text and "\0" not in text and text.encode("utf-8")
    for labels in [data.dev_labels, *([data.train_labels] if labelled else [])]:
        if config.task == "multi_label":
            assert labels.shape[1:] == (len(data.label_names),) and set(np.unique(labels)) <= {0, 1}
        else:
            assert 0 <= labels.min() and labels.max() < len(data.label_names)
    assert len(data.dev_labels) == len(data.dev_texts) and data.counts["train_rows"] == len(data.train_texts)
    json.dumps(data.counts)
    return ACCEPTED


@lru_cache
def _predictor_of(folder: Path) -> Predictor:
    return Predictor(folder)


def predictor(workshop: Workshop, case: tuple[list, int]) -> str:
    """Every text gets a label and probabilities that sum to 1; what is no text is refused by its position."""
    texts, batch_size = case
    predictor = _predictor_of(workshop.student)
    try:
        predictions = predictor.predict(texts, batch_size)
    except UserError as error:
        return _one_line(error)
    except TypeError as error:
        assert str(error).startswith("texts"), error
        return REFUSED
    _check_predictions(predictor, predictions, len(texts))
    return ACCEPTED


def _check_predictions(predictor: Predictor, predictions: list, count: int) -> None:
    assert len(predictions) == count
    for prediction in predictions:
        assert prediction.label in predictor.label_names and np.isfinite(prediction.probabilities).all()
        assert math.isclose(prediction.probabilities.sum(), 1, rel_tol=1e-4)


def student_folder(workshop: Workshop, case: tuple[str, bytes | list]) -> str:
    """A folder with a damaged file still predicts, or is refused."""
    for file, content in _with_damage(workshop.student_files, case).items():
        workshop.put(file, content)
    try:
        predictor = Predictor(workshop.desk)
        predictions = predictor.predict(["the film is good", "", "\0 ?"])
    except UserError as error:
        return _one_line(error)
    _check_predictions(predictor, predictions, 3)
    return ACCEPTED


def teacher_weights(workshop: Workshop, case: tuple[str, bytes | list]) -> str:
    """A checkpoint's weights are arrays, or refused; what a pickle asks for is not run."""
    from paddleslim_bilstm.teacher.weights import checkpoint_files, read_config, read_weights
    files = _with_damage(workshop.teacher_files, case)
    for file in ("config.json", case[0]):
        workshop.put(file, files[file])
    try:
        config, *files = checkpoint_files(workshop.desk) or (workshop.desk / "config.json",)
        read_config(config)
        weights = read_weights(files)
    except UserError as error:
        return _one_line(error)
    assert all(isinstance(value, np.ndarray) and not value.dtype.hasobject for value in weights.values())
    return ACCEPTED


def label_files(workshop: Workshop, case: tuple[tuple[bool, list[tuple[str, bytes]]], str]) -> str:
    """Labels from elsewhere are a row of finite numbers, or none, for each text; or refused."""
    from paddleslim_bilstm.task import task_named
    from paddleslim_bilstm.teacher.label_files import read_answers
    (with_texts, files), task = case
    for name, content in [*([("part-00000.jsonl", inputs.part_of_texts)] if with_texts else []), *files]:
        workshop.put(name, content)
    try:
        table = read_answers([str(workshop.desk)], task_named(task)).table(["good", "bad"])
        table.check_known(inputs.LABELLED)
    except UserError as error:
        return _one_line(error)
    logits = table.logits_of(inputs.LABELLED)
    assert logits.dtype == np.float32 and len(logits) == 5 and not np.isinf(logits).any()
    assert (np.isnan(logits).all(axis=1) == np.isnan(logits).any(axis=1)).all() and np.isfinite(logits).any()
    return ACCEPTED


def onnx_teacher(workshop: Workshop, case: tuple[str, bytes | list]) -> str:
    """An ONNX file with its tokenizer answers numbers to texts, or is refused."""
    from paddleslim_bilstm.report.costs import onnx_parameters
    from paddleslim_bilstm.teacher import load_teacher
    for name, content in _with_damage(workshop.onnx_files, case).items():
        workshop.put(name, content)
    try:
        teacher = load_teacher(workshop.desk, workshop.desk)
        logits = teacher.logits(teacher.tokenizer.encode(["the film is good", ""]), threads=1)
        assert teacher.embeddings is None or teacher.embeddings.ndim == 2
        assert onnx_parameters(teacher.model_file) >= 0
    except UserError as error:
        return _one_line(error)
    assert logits.shape == (2, teacher.num_classes)
    return ACCEPTED


def several_teachers(workshop: Workshop, case: tuple[str, bytes | list | float]) -> str:
    """A sound teacher and a damaged one answer together, or are refused."""
    from paddleslim_bilstm.teacher import load_teachers
    for folder, files in (("one", workshop.onnx_files), ("other", _with_damage(workshop.onnx_files, case))):
        (workshop.desk / folder).mkdir()
        for name, content in files.items():
            workshop.put(f"{folder}/{name}", content)
    try:
        both = load_teachers([str(workshop.desk / folder) for folder in ("one", "other")], workshop.desk / "work")
        logits = both.logits(both.tokenizer.encode(["the film is good", ""]), threads=1)
    except UserError as error:
        return _one_line(error)
    assert logits.shape == (2, 2) and both.num_classes == 2
    return ACCEPTED


def tokenizers(workshop: Workshop, case: tuple[str, bytes | list | float]) -> str:
    """A damaged vocabulary of any kind still cuts texts into its own tokens, or is refused."""
    from paddleslim_bilstm.tokens import load_tokenizer
    kind, damage = case
    name = next(iter(workshop.tokenizer_files[kind]))
    for file, content in _with_damage(workshop.tokenizer_files[kind], (name, damage)).items():
        workshop.put(file, content)
    texts = ["the film is good", "", "\u2581 \u4e2d\u6587\t\U0001f600", "Isn't it?  "]
    try:
        tokenizer = load_tokenizer(workshop.desk)
        sentences = tokenizer.encode(texts)
        [tokenizer.pieces.spell(ids.tolist()) for ids in sentences if len(ids)]
    except UserError as error:
        return _one_line(error)
    assert len(sentences) == 4 and len(sentences.tokens) == len(sentences.word_starts)
    assert not len(sentences.tokens) or 0 <= sentences.tokens.min() and sentences.tokens.max() < len(tokenizer.vocab)
    return ACCEPTED


def _with_damage(files: dict[str, bytes], case: tuple[str, bytes | list | float]) -> dict[str, bytes]:
    """Return ``files`` with one of them replaced, edited, or cut off after a share of it."""
    name, damage = case
    if isinstance(damage, float):
        return {**files, name: files[name][:int(damage * len(files[name]))]}
    return {**files, name: damage if isinstance(damage, bytes) else inputs.edited(files[name], damage)}


def command_line(workshop: Workshop, case: tuple[list[str], bytes, bytes]) -> str:
    """``main()`` exits with 0, or with 2 and one line; it leaves no file behind."""
    arguments, stdin, content = case
    for name in ("in.tsv", "in.csv", "in.jsonl", "in.txt", "run.yaml"):
        workshop.put(name, content)
    places = {"STUDENT": str(workshop.student), "DESK": str(workshop.desk), "OUTPUT": str(workshop.output)}
    arguments = [_in_place(argument, places) for argument in arguments]
    before = sorted(workshop.desk.rglob("*"))
    with _captured(stdin) as (out, err):
        try:
            code = cli.main(arguments)
        except SystemExit as exit_:  # argparse's way out
            code = exit_.code
        sys.stdout.flush()
        answers, messages = out.getvalue().decode(), err.getvalue()
    assert sorted(workshop.desk.rglob("*")) == before
    assert code in (0, 2), f"exit code {code}"
    assert "Traceback" not in messages
    if code == 0:
        if arguments and arguments[0] in ("predict", "evaluate") and not {"-h", "--help"} & set(arguments):
            assert all(isinstance(json.loads(line), dict) for line in answers.split("\n") if line)
        return ACCEPTED
    lines = messages.rstrip("\n").split("\n")
    usage = any(line.startswith("usage:") for line in lines)
    assert usage or (lines[-1].startswith("error: ") and sum(line.startswith("error: ") for line in lines) == 1), lines
    return REFUSED


def _in_place(argument: str, places: dict[str, str]) -> str:
    for name, path in places.items():
        argument = argument.replace(name, path)
    return argument


@contextmanager
def _captured(stdin: bytes) -> Iterator[tuple[io.BytesIO, io.StringIO]]:
    """Standard input from bytes; output as a terminal in UTF-8 takes it; the package's log among the messages."""
    out, err = io.BytesIO(), io.StringIO()
    logger = logging.getLogger("paddleslim_bilstm")
    handlers, logger.handlers = logger.handlers, []
    level, propagate = logger.level, logger.propagate
    screen = io.TextIOWrapper(out, encoding="utf-8", newline="\n")
    try:
        with redirect_stdout(screen), redirect_stderr(err), \
                mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin)))):
            yield out, err
    finally:
        logger.handlers, logger.level, logger.propagate = handlers, level, propagate


_words = st.one_of(st.sampled_from(["--input", "--jsonl", "--text-key", "--runtime", "--threads", "--batch-size", "-o",
                                    "--data", "-h", "--version", "list", "0", "-1", "2", "1e9", "²", "9" * 30, "onnx",
                                    "DESK/in.txt", "DESK/in.jsonl", "STUDENT", "DESK", "absent", "a=b", "--cache-dir",
                                    "--older-than", "nan"]), inputs.texts.map(lambda text: text.replace("\0", "")))
_commands = st.one_of(
    st.builds(lambda name, jsonl: ["predict", "STUDENT", "--input", f"DESK/{name}", *jsonl],
              st.sampled_from(["in.txt", "in.jsonl", "in.tsv", "in.csv"]), st.sampled_from([[], ["--jsonl"]])),
    st.builds(lambda jsonl: ["predict", "STUDENT", *jsonl], st.sampled_from([[], ["--jsonl"]])),
    st.builds(lambda option, value: ["predict", "STUDENT", option, value],
              st.sampled_from(["--threads", "--batch-size", "--runtime", "--text-key", "--input"]), _words),
    st.builds(lambda name: ["evaluate", "STUDENT", "--data", f"DESK/{name}"],
              st.sampled_from(["in.tsv", "in.csv", "in.jsonl", "in.txt"])),
    st.builds(lambda overrides: ["compress", "DESK/run.yaml", "-o", *overrides, "Global.model_dir=DESK/absent",
                                 "Global.save_dir=OUTPUT", "Global.cache_dir=OUTPUT"], inputs.overrides),
    st.builds(lambda first, rest: [first, *rest], st.sampled_from(["predict", "evaluate", "compress", "cache"]),
              st.lists(_words, max_size=4)),
    st.lists(_words, max_size=3))


_harm = st.one_of(st.binary(max_size=40), inputs.values.map(lambda value: json.dumps(value).encode()), inputs.edits,
                  st.floats(0, 1))


def _damage(names: tuple[str, ...]) -> st.SearchStrategy:
    return st.tuples(st.sampled_from(names), _harm)


_tasks = st.sampled_from(["classification", "multi_label"])

TARGETS = {
    "settings": Target(st.tuples(st.one_of(inputs.yaml_files, inputs.wrong_configs), inputs.overrides), settings),
    "preparation": Target(inputs.wrong_configs, preparation),
    "data files": Target(st.tuples(inputs.data_files, st.sampled_from([None, 2, 2, 3]), st.booleans(), _tasks),
                         data_files),
    "rows": Target(st.tuples(inputs.records, inputs.records, _tasks), rows),
    "predictor": Target(st.tuples(st.one_of(st.lists(inputs.fine_texts, max_size=6), st.lists(inputs.texts, max_size=4),
                                            st.lists(inputs.odd_values, max_size=3), inputs.odd_values),
                                  st.integers(-1, 9)), predictor),
    "student folder": Target(_damage(STUDENT_FILES), student_folder),
    "teacher weights": Target(_damage(TEACHER_FILES), teacher_weights),
    "label files": Target(st.tuples(inputs.label_files, _tasks), label_files),
    "tokenizers": Target(st.tuples(st.sampled_from(list(TOKENIZER_KINDS)), _harm), tokenizers),
    "several teachers": Target(_damage(ONNX_FILES), several_teachers),
    "ONNX teacher": Target(_damage(ONNX_FILES), onnx_teacher),
    "command line": Target(st.tuples(_commands, inputs.data_bytes, st.one_of(inputs.data_bytes, inputs.yaml_files)),
                           command_line),
}
