"""Where the fuzzer works: a folder of its own with a tiny student, and a limit to how long a case may take."""

from __future__ import annotations

import pickle
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import numpy as np
import safetensors.numpy
from encoders import KINDS, write_tokenizer
from onnx_teachers import OnnxClassifier
from student_reference import output_folder
from teachers import VOCABULARY

STUDENT_FILES = ("model.onnx", "student.json", "vocab.txt", "tokenizer_config.json", "tokenizer.json")
TEACHER_FILES = ("config.json", "model_state.pdparams", "model.safetensors", "model.safetensors.index.json")
ONNX_FILES = ("model.onnx", "config.json", "vocab.txt")
TOKENIZER_KINDS = ("roberta", "xlm-roberta", "albert")


class Workshop:
    """A tiny student in ``student``, files to damage, and a folder ``desk`` that is empty before each case."""

    def __init__(self, root: Path):
        self.student, self.desk, self.output = root / "student", root / "desk", root / "output"
        self.student.mkdir(parents=True)
        output_folder(self.student)
        self.student_files = {name: (self.student / name).read_bytes()
                              for name in ("student.json", "vocab.txt", "model.onnx")}
        self.student_files["tokenizer_config.json"] = b'{"do_lower_case": true, "unk_token": {"content": "[UNK]"}}'
        self.student_files["tokenizer.json"] = _tokenizer_json(self.student)
        weights = {"classifier.weight": np.ones((2, 3), np.float32), "classifier.bias": np.zeros(3, np.float16)}
        shards = b'{"weight_map": {"classifier.weight": "../model.safetensors"}}'
        self.teacher_files = {"config.json": b'{"id2label": {"0": "a", "1": "b"}}',
                              "model_state.pdparams": pickle.dumps({**weights, "StructuredToParameterName@@": {}}),
                              "model.safetensors": safetensors.numpy.save(weights),
                              "model.safetensors.index.json": shards}
        self.onnx_files = {"model.onnx": OnnxClassifier(positions=20).model().SerializeToString(),
                           "config.json": b'{"id2label": {"0": "a", "1": "b"}, "max_position_embeddings": 20}',
                           "vocab.txt": "\n".join(VOCABULARY).encode()}
        self.tokenizer_files = {kind: _tokenizer_files(root / kind, kind) for kind in TOKENIZER_KINDS}

    def clear(self) -> None:
        """Empty the desk."""
        shutil.rmtree(self.desk, ignore_errors=True)
        self.desk.mkdir()

    def put(self, name: str, content: bytes) -> Path:
        """Write a file on the desk and return its path."""
        path = self.desk / name
        path.write_bytes(content)
        return path


def _tokenizer_files(folder: Path, kind: str) -> dict[str, bytes]:
    """Return the files of a tokenizer of ``kind``, its vocabulary first."""
    vocabulary, names = KINDS[kind][3:]
    write_tokenizer(folder, vocabulary, names)
    files = sorted((path.name for path in folder.iterdir()), key=lambda name: name != vocabulary)
    return {name: (folder / name).read_bytes() for name in files}


def _tokenizer_json(folder: Path) -> bytes:
    from paddleslim_bilstm.tokens import load_tokenizer
    return load_tokenizer(folder).rust.to_str().encode()


class Hang(BaseException):
    """A case took too long; no ``except Exception`` of the program swallows it."""


@contextmanager
def time_limit(cpu_seconds: float = 20, seconds: float = 300) -> Iterator[None]:
    """Raise :class:`Hang` in the block after so much processor time or so much time in all.

    A case takes milliseconds; the limits leave room for a machine that is busy with other things.
    """
    def stop(*_: object) -> None:
        raise Hang(f"still running after {cpu_seconds} s of processor time or {seconds} s in all")
    limits = ((signal.SIGPROF, signal.ITIMER_PROF, cpu_seconds), (signal.SIGALRM, signal.ITIMER_REAL, seconds))
    before = [signal.signal(number, stop) for number, _, _ in limits]
    for _, timer, limit in limits:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(limits, before):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)
