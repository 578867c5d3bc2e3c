"""What a rank does for `scaling.py --ranks`: it labels and trains as a run does, and rank 0 notes how fast.

Paddle's launcher starts it, with the job as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import paddle
from ours import distil, part, settings_of

from paddleslim_bilstm import ranks
from paddleslim_bilstm.cpu import apply_cpu_settings, physical_cores
from paddleslim_bilstm.stages import make_transfer_set
from paddleslim_bilstm.teacher import label, labelling, load_teacher
from paddleslim_bilstm.teacher.text import read_training_text


def main() -> None:
    """Do the job, and write what rank 0 has measured to ``job["found"]``."""
    job = json.loads(sys.argv[1])
    apply_cpu_settings()
    paddle.enable_static()
    work, folder = Path(job["work"]), Path(job["folder"])
    settings = settings_of(job, Global={"train_file": str(work / "train.tsv"), "dev_file": str(work / "dev.tsv")},
                           TrainConfig={"train_iter": 2 * job["steps"], "eval_iter": job["steps"]})
    labelling.CHUNK_SENTENCES = job["chunk"]
    with ranks.together():
        teacher = ranks.keepers_then_others(load_teacher, job["teacher"], folder)
        text = read_training_text(settings, teacher)
        made = make_transfer_set(settings, teacher, text, folder)
        sentences = part(made, np.random.default_rng(0).permutation(len(made.sentences))[:job["label"]])
        warm = part(sentences, np.arange(job["chunk"]))
        label(teacher, warm.sentences, folder, "warm", physical_cores())  # what it needs once
        began = _now()
        labels = label(teacher, sentences.sentences, folder, "labels", physical_cores())
        found = {"label": {**_since(began), "sentences": len(sentences.sentences), "precision": labels.precision}}
        sent, moments, add_up = [], [], ranks.sum_of_all

        def counted(array: np.ndarray) -> np.ndarray:
            sent.append(array.nbytes)
            return add_up(array)

        def evaluate(*_: object) -> float:
            moments.append(_now())
            return 0.0

        ranks.sum_of_all = counted
        distil(settings, teacher, text, sentences, labels, evaluate, folder)
        if ranks.is_first():
            found["train"] = {**{name: moments[1][name] - moments[0][name] for name in moments[0]},
                              "sentences": job["steps"] * job["batch_size"],
                              "sent_bytes": float(np.mean(sent)) if sent else 0.0}
            Path(job["found"]).write_text(json.dumps(found))


def _now() -> dict[str, float]:
    return {"s": time.perf_counter(), "cpu_s": time.process_time()}


def _since(began: dict[str, float]) -> dict[str, float]:
    return {name: value - began[name] for name, value in _now().items()}


if __name__ == "__main__":
    main()
