"""Runs of several ranks as forks of one process, as Paddle's launcher would start them: a harness for `test_ranks`.

    python tests/ranked_runs.py [killed]

It prints what became of each story as JSON. When a rank has ended with an error the launcher sends SIGTERM to the
others; so does this.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

from forked_runs import Run, prepare, start
from reviews import write_reviews

from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.student.weights import load_student

_ENDED_S = 120
CONFIG = {"Global": {"max_seq_length": 64}, "bert_to_bilstm": {"student": {"embed_dim": 16, "hidden_size": 16}},
          "DataAugmentation": {"n_iter": 2, "hooks": ["masking"]}, "TrainConfig": {"epochs": 2, "eval_iter": 5}}


class Stories:
    """The text, the teacher and the configuration of all runs."""

    def __init__(self, root: Path):
        self.root = root
        write_reviews(root / "data", train=250, dev=40)
        files = {"model_dir": str(root / "teacher"), "train_file": str(root / "data" / "train.tsv"),
                 "dev_file": str(root / "data" / "dev.tsv")}
        (root / "run.json").write_text(json.dumps({**CONFIG, "Global": {**CONFIG["Global"], **files}}))
        make = "import sys, pathlib, teachers; teachers.make_tiny_teacher(pathlib.Path(sys.argv[1]), 'huggingface', " \
               "hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)"  # ranks draw dropout of their own
        subprocess.run([sys.executable, "-c", make, str(root / "teacher")], check=True, cwd=Path(__file__).parent,
                       capture_output=True)

    def start(self, name: str, count: int, *overrides: str, only: int | None = None, limit_s: int = 60,
              before: Callable[[int], None] = lambda rank: None, port: int | None = None,
              command: str = "compress", apart: bool = False) -> list[Run]:
        """Start ``count`` ranks in the folder ``name``, or one of them alone; ``before`` is called in each.

        In ``overrides`` {rank} stands for its number. If ``apart``, each has folders of its own, as on machines that
        share none.
        """
        folder, port = self.root / name, port or free_port()
        folder.mkdir(exist_ok=True)

        def arguments(rank: int) -> list[str]:
            own = f"-{rank}" if apart and rank else ""
            return [str(self.root / "run.json"), "-o", f"Global.save_dir={folder / f'out{own}'}",
                    f"Global.cache_dir={folder / f'cache{own}'}",
                    *(override.format(rank=rank) for override in overrides)]

        def as_rank(rank: int) -> Callable[[], None]:
            def enter() -> None:
                os.environ.update(
                    PADDLE_TRAINERS_NUM=str(count), PADDLE_TRAINER_ID=str(rank), PADDLE_MASTER=f"127.0.0.1:{port}",
                    PADDLE_TRAINER_ENDPOINTS=",".join(f"127.0.0.1:{port + one}" for one in range(count)),
                    PADDLE_CURRENT_ENDPOINT=f"127.0.0.1:{port + rank}", PADDLE_DISTRI_BACKEND="gloo",
                    FLAGS_stop_check_timeout=str(limit_s))
                before(rank)
            return enter

        return [start(arguments(rank), folder / f"log-{time.monotonic_ns()}-{rank}",
                      as_rank(rank) if count > 1 else None, command)
                for rank in (range(count) if only is None else [only])]

    def end(self, name: str, runs: list[Run]) -> dict[str, Any]:
        """Wait as the launcher does, and return exit codes, what each has printed, and what the folder holds."""
        end = time.monotonic() + _ENDED_S
        while any(run.code is None for run in runs):
            for run in runs:
                run.follow(0.1)
            if any(run.code for run in runs):
                looks = time.monotonic() + 2  # the launcher does every two seconds
                for run in runs:
                    run.follow(looks - time.monotonic())
                for run in runs:
                    run.kill(signal.SIGTERM)
            if time.monotonic() > end:
                for run in runs:
                    run.kill()
        folder = self.root / name
        caches = [{str(path.relative_to(cache)): path.read_bytes().hex() for kind in ("transfer_sets", "labels")
                   for path in (cache / kind).rglob("*") if path.is_file()} for cache in sorted(folder.glob("cache*"))]
        weights = {}
        if (folder / "out" / "student.json").is_file():
            weights = {key: array.tolist() for key, array in load_student(folder / "out")[0].items()}
        return {"codes": [run.code for run in runs], "texts": [run.text() for run in runs], "caches": caches,
                "weights": weights}


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def killed(stories: Stories) -> list[dict[str, Any]]:
    """Kill each of three ranks once, in labelling and in training; then two ranks go on, and end."""
    found = []
    for victim, stage in ((2, "label"), (0, "label"), (1, "distil")):
        runs = stories.start("killed", 3)
        runs[0].follow(_ENDED_S, until=stage)
        runs[0].follow(0.5 if stage == "distil" else 0.05)
        runs[victim].kill()
        found.append(stories.end("killed", runs))
    return [*found, stories.end("killed", stories.start("killed", 2))]


def finetuned(stories: Stories, count: int) -> dict[str, Any]:
    """Fine-tune the teacher once more, each rank into a folder of its own, and return the weights that are there."""
    from safetensors.numpy import load_file
    name, folder = f"finetuned-{count}", stories.root / f"teachers-{count}"
    found = stories.end(name, stories.start(
        name, count, f"Finetune.model={stories.root / 'teacher'}", "Finetune.batch_size=33", "Finetune.epochs=2",
        f"Global.model_dir={folder}/{{rank}}/teacher", command="finetune", before=soon))
    weights = [load_file(file) for file in sorted(folder.glob("*/teacher/model.safetensors"))]
    return {**found, "weights": [{name: array.tolist() for name, array in one.items()} for one in weights]}


def apart(stories: Stories) -> list[dict[str, Any]]:
    """Two ranks without a folder in common; then again, when rank 0's cache has lost its labels."""
    def never_label(rank: int) -> None:
        soon(rank)
        failing(1)

    found = [stories.end("apart", stories.start("apart", 2, "--fresh", before=soon, apart=True))]
    shutil.rmtree(stories.root / "apart" / "cache" / "labels", ignore_errors=True)
    return [*found, stories.end("apart", stories.start("apart", 2, before=never_label, apart=True))]


def soon(rank: int) -> None:
    """Let files of another machine show within seconds, or never."""
    from paddleslim_bilstm import ranks
    ranks._SEEN_S = 3


def fallen_silent(stories: Stories) -> list[dict[str, Any]]:
    """Stop each of two ranks, in labelling and in training, as if its machine had no power, until the other ends."""
    stopped = []
    for victim, stage in ((1, "label"), (0, "distil")):  # the first story waits while the second one goes on
        name = f"silent-{stage}"
        runs = stories.start(name, 2, limit_s=8)
        runs[0].follow(_ENDED_S, until=stage)
        runs[victim].kill(signal.SIGSTOP)
        stopped.append((name, runs, victim))
    found = []
    for name, runs, victim in stopped:
        runs[1 - victim].follow(_ENDED_S)
        runs[victim].kill()
        found.append(stories.end(name, runs))
    return found


def failing(rank: int) -> None:
    """Let labelling fail in rank 1."""
    from paddleslim_bilstm.teacher import labelling

    def refuse(chunk, start, *others):
        raise UserError(f"the teacher answers nan to sentence {start}")
    if rank == 1:
        labelling._check_finite = refuse


def main() -> None:
    """Tell the stories, or the one of killed ranks, beside that of one rank, which all others must end like."""
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        stories = Stories(Path(folder))
        found: dict[str, Any] = {"one": stories.end("one", stories.start("one", 1))}
        found.update({"killed": killed(stories)} if sys.argv[1:] else others(stories))
        print(json.dumps(found))


def others(stories: Stories) -> dict[str, Any]:
    """Return what becomes of two ranks, and of what can go wrong with them."""
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        waiting = {"taken": stories.start("taken", 2, only=0, limit_s=5, port=port)}
        waiting.update({f"missing-{rank}": stories.start(f"missing-{rank}", 2, only=rank, limit_s=2)
                        for rank in (0, 1)})
        found = {"two": stories.end("two", stories.start("two", 2))}
        found["pruned"] = stories.end("two", stories.start("two", 2, "UnstructurePrune={{}}"))
        found["failing"] = stories.end("failing", stories.start("failing", 2, before=failing))
        found["apart"] = apart(stories)
        found["silent"] = fallen_silent(stories)
        found["finetuned"] = [finetuned(stories, count) for count in (1, 2)]
        found.update({name: stories.end(name, runs) for name, runs in waiting.items()})
    return found


if __name__ == "__main__":
    main()
