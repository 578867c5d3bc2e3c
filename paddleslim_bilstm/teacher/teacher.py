"""What every teacher answers, and the teacher that is a Paddle inference model."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Callable, ClassVar, Iterator, NamedTuple, Protocol, Sequence

import numpy as np
import paddle
from paddle.inference import Config, create_predictor

from .. import ranks
from ..cpu import physical_cores
from ..export.inference_file import NEW_PROGRAM, program_file
from ..tokens import Framing, Reader, Sentences, Tokenizer
from .program import read_parameter, read_signature

TOKENS_PER_BATCH = 4096
ROWS_PER_BATCH = 512
_MAX_PADDING = 1 / 8
# oneDNN keeps a reordered copy of all weights for each input shape that it remembers. Batches come sorted by length,
# so that remembering the last shape is as fast as remembering ten.
_ONEDNN_SHAPES = 1
_GPU_MEMORY_MB = 512


class InferenceModel:
    """A classifier saved as ``<prefix>.pdmodel`` (or ``.json``) and ``<prefix>.pdiparams``, run by Paddle Inference.

    Runs on the first GPU, or its rank's, where Paddle and the machine have one, otherwise through oneDNN on ``threads``
    CPU threads.

    Args:
        prefix: path of the two files without their suffix.
        threads: CPU threads.
        bf16: multiply matrices in bfloat16; about twice as fast where the CPU has it, slower where it has not.
    """

    def __init__(self, prefix: str | Path, threads: int, bf16: bool = False) -> None:
        program = program_file(prefix)
        config = Config(str(program), f"{prefix}.pdiparams")
        config.disable_glog_info()
        self._shrinks = program.suffix != NEW_PROGRAM  # Paddle has neither for its new programs
        if self._shrinks:
            config.enable_memory_optim()
        if runs_on_gpu():
            config.enable_use_gpu(_GPU_MEMORY_MB, ranks.gpu())
        else:
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(threads)
            config.enable_mkldnn()
            config.set_mkldnn_cache_capacity(_ONEDNN_SHAPES)
            if bf16:
                config.enable_mkldnn_bfloat16()
        with _silent_output():
            self._predictor = create_predictor(config)
        self._inputs = [self._predictor.get_input_handle(name) for name in self._predictor.get_input_names()]
        self._output = self._predictor.get_output_handle(self._predictor.get_output_names()[0])

    def run(self, *batch: np.ndarray) -> np.ndarray:
        """Return the logits, float32 ``[batch, classes]``; ``batch`` is an array an input, in the model's order."""
        for handle, array in zip(self._inputs, batch):
            handle.reshape(array.shape)
            handle.copy_from_cpu(array)
        self._predictor.run()
        logits = self._output.copy_to_cpu().astype(np.float32, copy=False)
        if self._shrinks:
            self._predictor.try_shrink_memory()  # or each new shape adds to what the heap holds, half a gigabyte in all
        return logits


def runs_on_gpu() -> bool:
    """Return whether ``InferenceModel`` uses a GPU here."""
    return paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0


def batches_by_length(lengths: np.ndarray, token_budget: int = TOKENS_PER_BATCH,
                      max_rows: int = ROWS_PER_BATCH) -> Iterator[np.ndarray]:
    """Yield the indices of ``lengths`` in batches of (nearly) equal length, longest first.

    A batch holds at most ``max_rows`` rows and, padded, ``token_budget`` tokens (one row may exceed that); its
    shortest row is at most 1/8 shorter than its longest.

    Example: ``lengths=[3, 9, 3, 9, 3], token_budget=9 -> [1], [3], [0, 2, 4]``.
    """
    order = np.argsort(-lengths, kind="stable")
    descending = -lengths[order]  # negative lengths, so that they ascend for searchsorted
    start = 0
    while start < len(order):
        longest = max(int(-descending[start]), 1)
        rows = min(max_rows, max(token_budget // longest, 1))
        too_short = int(np.searchsorted(descending, -longest * (1 - _MAX_PADDING), side="right"))
        end = min(start + rows, max(too_short, start + 1), len(order))
        yield order[start:end]
        start = end


def logits_of(model: InferenceModel, sentences: Sentences, reader: Reader,
              progress: Callable[[int], object] | None = None) -> np.ndarray:
    """Return the logits of each sentence, float32 ``[n, classes]``, in the order of ``sentences``.

    ``reader`` frames each sentence (or pair) as the model reads it; the caller has cut them to what the model can take.
    ``progress`` is called with the number of sentences done since its last call.
    """
    logits = None
    for index in batches_by_length(sentences.lengths + reader.special_tokens(sentences.pairs)):
        answer = model.run(*reader.batch(sentences, index))
        if logits is None:
            logits = np.empty((len(sentences), answer.shape[1]), np.float32)
        logits[index] = answer
        if progress:
            progress(len(index))
    return np.empty((0, 0), np.float32) if logits is None else logits


@contextmanager
def _silent_output() -> Iterator[None]:
    """Send what the process's C++ code prints to nowhere: oneDNN's bf16 passes heed no log level."""
    with open(os.devnull, "w") as nowhere:
        saved = [os.dup(descriptor) for descriptor in (1, 2)]
        try:
            for descriptor in (1, 2):
                os.dup2(nowhere.fileno(), descriptor)
            yield
        finally:
            for descriptor, copy in zip((1, 2), saved):
                os.dup2(copy, descriptor)
                os.close(copy)


class Engine(Protocol):
    """What runs a network."""

    def run(self, *batch: np.ndarray) -> np.ndarray:
        """Return the logits, float32 ``[batch, classes]``; ``batch`` is an array an input, in the model's order."""


@dataclass(frozen=True)
class Teacher:
    """A fine-tuned classifier, which is asked for the logits of sentences; each kind of teacher is a class.

    Attributes:
        tokenizer: makes the sentences' tokens, for the student, too.
        num_classes: columns of its logits; 1 for a regression.
        label_names: names of the classes by column, or None where it has none.
        framing: how a sentence or a pair becomes its inputs, and those of the student that takes its place.
        max_length: tokens that it can take, special tokens included, or None where it has no limit.
        fingerprint: changes with all that its answers depend on but tokens and framing.
    """

    tokenizer: Tokenizer
    num_classes: int
    label_names: tuple[str, ...] | None
    framing: Framing
    max_length: int | None
    fingerprint: str

    has_bf16: ClassVar[bool] = False
    """Whether its engine can multiply in bfloat16."""
    members: ClassVar[tuple[Member, ...]] = ()
    """The teachers that it is made of, if it is made of several."""
    chunk_sentences: ClassVar[int | None] = None
    """Where answers are dear: how many are kept at a time, and none is asked for twice, not even for a check."""

    @property
    def answers_anything(self) -> bool:
        """Whether it may be asked about any sentences, as often as one likes."""
        return self.model_file is not None or bool(self.members)

    @property
    def model_file(self) -> Path | None:
        """Its network in a file that can be measured, if it has one: ``.pdmodel`` or ``.json``, weights beside it, or
        ``.onnx``."""
        return None

    @property
    def embeddings(self) -> np.ndarray | None:
        """Its word embeddings, float32 ``[vocabulary, hidden]``, by token id, if they can be had."""
        return None

    def reading(self, sentences: Sentences, texts: Sequence[Any] | None) -> Teacher:
        """Return this teacher, to be asked about ``sentences`` and what is made of them; ``texts`` are behind them."""
        return self

    def fingerprint_for(self, sentences: Sentences) -> str:
        """Return `fingerprint` with what else its answers to ``sentences`` depend on, but for tokens and framing."""
        return self.fingerprint

    def asked(self, sentences: Sentences) -> tuple[Teacher, Sentences]:
        """Return the teacher whose network answers, and ``sentences`` as that one reads them."""
        return self, sentences

    def logits(self, sentences: Sentences, progress: Callable[[int], object] | None = None, bf16: bool = False,
               threads: int | None = None) -> np.ndarray:
        """Return the logits of each sentence (or pair), float32 ``[n, classes]``, see `logits_of`."""
        return logits_of(self.engine(bf16, threads), sentences, self.framing, progress)

    def engine(self, bf16: bool = False, threads: int | None = None) -> Engine:
        """Return the network on ``threads`` CPU threads, all cores by default; the same one until another is asked for.

        Only the last one is kept: a network in two precisions takes twice the memory.
        """
        key = threads or physical_cores(), bf16
        if key not in self._engines:
            self.release()
            self._engines[key] = self._load(*key)
        return self._engines[key]

    def release(self) -> None:
        """Give back the memory of the loaded network."""
        self._engines.clear()

    @cached_property
    def _engines(self) -> dict[tuple[int, bool], Engine]:
        return {}

    def _load(self, threads: int, bf16: bool) -> Engine:
        raise NotImplementedError(f"{type(self).__name__} is no network")


class Member(NamedTuple):
    """One of several teachers: what it is called, and the column of each class in its logits."""

    name: str
    teacher: Teacher
    columns: tuple[int, ...]

    def logits(self, *args: Any) -> np.ndarray:
        """Return its logits, see `Teacher.logits`, in the order of the classes that all have in common."""
        return self.teacher.logits(*args)[:, self.columns]


@dataclass(frozen=True)
class PaddleTeacher(Teacher):
    """A classifier in Paddle, loaded once, when it is first asked.

    Attributes:
        prefix: our own copy as an inference model, ``<prefix>.pdmodel`` (or ``.json``) and ``<prefix>.pdiparams``.
    """

    prefix: Path

    has_bf16 = True

    @property
    def model_file(self) -> Path:
        return program_file(self.prefix)

    @cached_property
    def embeddings(self) -> np.ndarray:
        return read_parameter(self.prefix, read_signature(self.model_file).embedding)

    def _load(self, threads: int, bf16: bool) -> InferenceModel:
        return InferenceModel(self.prefix, threads, bf16)
