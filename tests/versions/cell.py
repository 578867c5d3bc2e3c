"""The short form: all that the package does, on tiny models, in the environment that runs this.

``python cell.py all FOLDER`` writes ``FOLDER/steps.json`` (what each step said, "yes" where it worked, the teacher's
logits and NumPy's version) and leaves a student in ``FOLDER/student``. ``python cell.py answers FOLDER`` prints whether
the student there answers as where it was made.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402

STEPS = ("import", "finetune", "label", "train", "export", "QuantPost", "QuantAware", "UnstructurePrune", "QuantBiLSTM",
         "Predictor", "Python", "command line", "AutoCompression")
IDS = np.array([[2, 9, 30, 41, 3], [2, 50, 3, 0, 0]])
_CHAINED = {"QuantPost": {}, "QuantAware": {}, "UnstructurePrune": {"ratio": 0.5},
            "QuantBiLSTM": {"max_accuracy_drop": 0.5}}


class Cell:
    """The steps, each a method that raises where it fails."""

    def __init__(self, folder: Path):
        self.folder, self.logits = folder, []
        os.environ["PADDLESLIM_BILSTM_CACHE"] = str(folder / "cache")

    def config(self, name: str, **sections: Any) -> dict[str, Any]:
        return {"Global": {"model_dir": str(self.folder / "teacher"), "train_file": str(self.folder / "train.tsv"),
                           "dev_file": str(self.folder / "dev.tsv"), "save_dir": str(self.folder / name),
                           "max_seq_length": 32},
                "bert_to_bilstm": {"student": {"embed_dim": 16, "hidden_size": 16}, "train_alone": False},
                "DataAugmentation": {"n_iter": 1}, "TrainConfig": {"train_iter": 40, "eval_iter": 20}, **sections}

    def do_import(self) -> None:
        import paddle  # noqa: F401
        import paddleslim  # noqa: F401
        from paddleslim.auto_compression import strategy_config

        import paddleslim_bilstm  # noqa: F401
        assert "bert_to_bilstm" in strategy_config.SUPPORTED_CONFIG
        from paddleslim_bilstm.report import measure
        measure._BUDGET_S = 0.01

    def do_finetune(self) -> None:
        from reviews import write_reviews
        from teachers import make_tiny_teacher

        from paddleslim_bilstm.finetune.finetune import best_dev_metric, finetune
        write_reviews(self.folder, train=160, dev=40)
        make_tiny_teacher(self.folder / "pretrained", "huggingface", hidden_dropout_prob=0.0)
        config = self.config("none", Finetune={"model": str(self.folder / "pretrained"), "epochs": 2,
                                               "learning_rate": 0.001})
        assert 0 < best_dev_metric(finetune(config)) <= 1

    def do_label(self) -> None:
        from reviews import make_reviews

        from paddleslim_bilstm.teacher import load_teacher
        teacher = load_teacher(self.folder / "pretrained", self.folder / "copy")  # of the same weights everywhere
        logits = teacher.logits(teacher.tokenizer.encode([text for text, _ in make_reviews(20, seed=5)]))
        assert np.ptp(logits, axis=0).min() > 0.01
        self.logits = logits.tolist()

    def do_train(self) -> None:
        from paddleslim_bilstm import compress
        result = compress(self.config("student"))
        models = json.loads((result.save_dir / "report.json").read_text())["models"]
        assert [model["name"] for model in models] == ["teacher", "distilled"]

    def do_export(self) -> None:
        from paddleslim_bilstm.predict.runtimes import onnx_logits, paddle_logits
        answers = paddle_logits(self.folder / "student" / "model")(IDS, np.zeros_like(IDS))
        in_onnx = onnx_logits(self.folder / "student" / "model.onnx")(IDS, np.zeros_like(IDS))
        np.testing.assert_allclose(in_onnx, answers, atol=1e-4)
        (self.folder / "student" / "answers.json").write_text(json.dumps(answers.tolist()))

    def do_chain(self, name: str) -> None:
        from paddleslim_bilstm import compress
        result = compress(self.config(name, **{name: _CHAINED[name]}))
        models = json.loads((result.save_dir / "report.json").read_text())["models"]
        assert name in models[-1]["name"], models[-1]["name"]

    def do_Predictor(self) -> None:  # noqa: N802
        from paddleslim_bilstm import Predictor
        predictor = Predictor(self.folder / "QuantBiLSTM")
        assert {one.label for one in predictor.predict(["not great", "a lovely film"])} <= {"0", "1"}

    def do_Python(self) -> None:  # noqa: N802
        from reviews import make_reviews

        from paddleslim_bilstm import compress
        config = self.config("rows")
        del config["Global"]["train_file"], config["Global"]["dev_file"]
        rows = make_reviews(120, seed=2)
        assert (compress(config, train=rows[:80], dev=rows[80:]).save_dir / "model.pdmodel").is_file()

    def do_command_line(self) -> None:
        from paddleslim_bilstm.cli import main
        assert main(["compress", str(self.yaml("command"))]) == 0
        assert (self.folder / "command" / "model.int8.onnx").is_file()

    def do_AutoCompression(self) -> None:  # noqa: N802
        from paddleslim.auto_compression import AutoCompression
        AutoCompression(model_dir=str(self.folder / "teacher"), train_dataloader=None, config=str(self.yaml("auto")),
                        save_dir=str(self.folder / "auto")).compress()
        assert (self.folder / "auto" / "model.int8.onnx").is_file()

    def yaml(self, name: str) -> Path:
        import yaml
        path = self.folder / f"{name}.yaml"
        config = self.config(name, QuantPost=_CHAINED["QuantPost"], QuantBiLSTM=_CHAINED["QuantBiLSTM"])
        if name == "auto":
            del config["Global"]["save_dir"], config["Global"]["model_dir"]
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    def step(self, name: str) -> Callable[[], None]:
        if name in _CHAINED:
            return lambda: self.do_chain(name)
        return getattr(self, f"do_{name.replace(' ', '_')}")


def run(folder: Path) -> None:
    """Take all steps in ``folder``, each whatever became of those before it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cell, found = Cell(folder), {}
    for name in STEPS:
        print(f"-- {name}", file=sys.stderr, flush=True)
        try:
            cell.step(name)()
            found[name] = "yes"
        except Exception as error:
            traceback.print_exc()
            found[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        (folder / "steps.json").write_text(json.dumps({"steps": found, "logits": cell.logits, "numpy": np.__version__}))


def same_answers(folder: Path) -> str:
    """Return "yes" if Paddle Inference here answers from the student as where it was exported, or what is wrong."""
    from paddleslim_bilstm.predict.runtimes import paddle_logits
    expected = np.array(json.loads((folder / "answers.json").read_text()))
    try:
        furthest = float(np.abs(paddle_logits(folder / "model")(IDS, np.zeros_like(IDS)) - expected).max())
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return "yes" if furthest < 1e-4 else f"logits differ by {furthest:.2g}"


if __name__ == "__main__":
    from paddleslim_bilstm.cpu import apply_cpu_settings
    apply_cpu_settings()
    if sys.argv[1] == "all":
        run(Path(sys.argv[2]).resolve())
    else:
        print(same_answers(Path(sys.argv[2])))
