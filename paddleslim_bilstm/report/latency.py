"""How fast a model answers: latency of single sentences, and throughput in batches."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle

from ..predict.runtimes import Logits, paddle_logits
from ..tokens import Reader, Sentences

SINGLE_SENTENCES = 200
BATCH_SIZE = 32
BATCHES = 8
PASSES = 3
_FEWEST_SENTENCES = 40
_BUDGET_S = 20.0  # of each of the two measurements; a slow model is measured on fewer sentences


@dataclass(frozen=True)
class Latency:
    """Milliseconds from token ids to logits for one sentence: its median and 99th percentile over sentences."""

    p50: float
    p99: float


@dataclass(frozen=True)
class Speed:
    """What was measured, and how.

    Attributes:
        latency_ms: at batch 1.
        sentences_per_s: at batch ``BATCH_SIZE``.
        runtime: the engine, its version and threads, such as "Paddle Inference 2.6.2, 1 thread".
    """

    latency_ms: Latency
    sentences_per_s: float
    runtime: str


def measure_latency(prefix: Path, sentences: Sentences, reader: Reader) -> Speed:
    """Measure a Paddle inference model in Paddle Inference on one CPU thread.

    The predictor is the plain one that a user writes, without oneDNN: for single sentences of ever new lengths oneDNN
    is no faster, neither for a BERT nor for a Bi-LSTM, because it prepares the weights anew for each length.

    Args:
        prefix: path of the model without ``.pdmodel``.
        sentences: real sentences, already cut to the length that is served; a sample is taken.
    """
    return measure_speed(paddle_logits(prefix), sentences, reader,
                         f"Paddle Inference {paddle.__version__}, 1 thread")


def measure_speed(run: Logits, sentences: Sentences, reader: Reader, runtime: str) -> Speed:
    """Measure any engine: ``run`` takes an array a feed and returns the logits.

    Up to ``SINGLE_SENTENCES`` sentences, spread evenly over ``sentences``, are answered one at a time in
    ``PASSES`` passes. A sentence's time is its median over the passes, so that a machine busy with something
    else for a moment does not count; ``p99`` therefore shows the long sentences. For the throughput, batches of
    ``BATCH_SIZE`` sentences of similar length are answered, and the median pass counts.
    """
    if not len(sentences):
        raise ValueError("need at least one sentence to measure a model's speed")
    singles = [np.array([index]) for index in _spread(len(sentences), SINGLE_SENTENCES)]
    feeds = [reader.batch(sentences, index) for index in singles]
    feeds = feeds[:: _stride(run, feeds, _FEWEST_SENTENCES)]
    per_sentence_s = np.median([_times(run, feeds) for _ in range(PASSES)], axis=0)

    sample = _spread(len(sentences), BATCH_SIZE * BATCHES)
    sample = np.resize(sample, max(len(sample), BATCH_SIZE))  # a small set repeats itself up to one batch
    by_length = sample[np.argsort(-sentences.lengths[sample], kind="stable")]  # longest first: needs least memory
    batches = [reader.batch(sentences, by_length[start:start + BATCH_SIZE])
               for start in range(0, len(by_length) - BATCH_SIZE + 1, BATCH_SIZE)]
    batches = batches[:: _stride(run, batches, 2)]
    pass_s = statistics.median(sum(_times(run, batches)) for _ in range(PASSES))
    p50, p99 = np.percentile(per_sentence_s, [50, 99]) * 1000
    return Speed(Latency(float(p50), float(p99)), BATCH_SIZE * len(batches) / pass_s, runtime)


def _times(run: Logits, feeds: list[tuple[np.ndarray, ...]]) -> list[float]:
    """Return the seconds that each of ``feeds`` takes."""
    seconds = []
    for batch in feeds:
        start = time.perf_counter()
        run(*batch)
        seconds.append(time.perf_counter() - start)
    return seconds


def _stride(run: Logits, feeds: list, fewest: int) -> int:
    """Warm up, and return which share of ``feeds`` (every first, second, third, ...) fits into the time budget."""
    warm_up = [feeds[index] for index in _spread(len(feeds), 10 if len(feeds) > 10 else 3)]
    _times(run, warm_up[:2])
    seconds = statistics.mean(_times(run, warm_up)) * len(feeds) * PASSES
    return max(1, min(int(np.ceil(seconds / _BUDGET_S)), len(feeds) // fewest))


def _spread(total: int, count: int) -> np.ndarray:
    """Return up to ``count`` of the positions ``0 ... total - 1``, evenly spread: ``total=6, count=3 -> [0, 2, 4]``."""
    count = min(total, count)
    return np.arange(count) * total // count
