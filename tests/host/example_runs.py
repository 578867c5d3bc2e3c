"""PaddleSlim's NLP examples with our section in their YAML, and its inference scripts on what comes out.

The scripts are the checkout's own, with ``import paddleslim_bilstm`` as one line on top. Their YAML is the
checkout's, too: the folder of the model, the task and the batch size are filled in as the examples' READMEs have it,
its strategies give way to ours, ``learning_rate``, which is a BERT's, goes, ``epochs`` are the student's, and
``origin_metric`` is what the script itself measures of the teacher.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterable

import yaml
from parts import HERE, REPOSITORY, hash_of, keep_result, kept_result, log_lines, run_process
from teacher_folders import TINY

PLUGIN_LINE = "import paddleslim_bilstm\n"
CHAINS = {  # behind the student, one run each
    "alone": {},
    "QuantAware": {"QuantAware": {"weight_bits": 8, "activation_bits": 8, "quantize_op_types": ["matmul_v2"]}},
    "QuantPost": {"QuantPost": {"weight_bits": 8, "activation_bits": 8, "quantize_op_types": ["matmul_v2"]}},
    "UnstructurePrune": {"UnstructurePrune": {"prune_mode": "ratio", "ratio": 0.5}},
    "ASPPrune": {"ASPPrune": {}},
}
WIDTH = 128  # tokens, as in the examples
_TRACE_END = re.compile(r"^[\w.]*(Error|Exception|Exit|Interrupt|Refused|Version)\b.*")


@dataclass(frozen=True)
class Example:
    """An example folder of PaddleSlim: its YAML, its model's files, and how its inference script wants its flags."""

    name: str
    yaml: str
    model_filename: str
    params_filename: str
    inference_flags: tuple[str, ...]

    def folder(self, checkout: Path) -> Path:
        return checkout / "example" / "auto_compression" / self.name


NLP = Example("nlp", "configs/ernie3.0/afqmc.yaml", "inference.pdmodel", "inference.pdiparams", ("--dataset", "glue"))
HUGGING_FACE = Example("pytorch_huggingface", "configs/sst2.yaml", "model.pdmodel", "model.pdiparams",
                       ("--model_type", "bert", "--model_name_or_path", "{model}"))


@dataclass(frozen=True)
class Sizes:
    """What the examples run on: a checkpoint (or ``tiny``), its data, and how much of it."""

    teacher: str = TINY
    data: str | None = None  # the folder with train.tsv and dev.tsv; the tiny teacher brings its own
    rows: int = 0            # of train.tsv; 0: all
    rounds: int = 5          # DataAugmentation.n_iter
    epochs: int = 20         # over the transfer set
    batch_size: int = 16     # of the scripts' loaders


def example_names() -> list[str]:
    """Return the runs: ``nlp teacher``, ``nlp alone``, ..., and those of the example with an attention mask."""
    return [f"{NLP.name} teacher", *(f"{NLP.name} {chain}" for chain in CHAINS),
            f"{HUGGING_FACE.name} teacher", f"{HUGGING_FACE.name} alone", f"{HUGGING_FACE.name} QuantPost"]


def run_examples(checkout: Path, results: Path, sizes: Sizes, limit_s: float, names: Iterable[str],
                 on_example) -> None:
    """Make the teachers, run the examples called ``names``, and call ``on_example(name, result)`` after each.

    The names are those of ``example_names``, that of a teacher before those of its students.

    A result says of each part (``compress``; ``evaluate``, the script's own ``--eval``; ``inference``, the script
    ``paddle_inference_eval.py``) what went wrong, or nothing, with the accuracy that it printed. The latter two are
    missing where ``compress`` left no model.
    """
    settings = {**asdict(sizes), "checkout": hash_of(checkout / "example" / "auto_compression"),
                "limit_s": limit_s}
    folder = results / "examples"
    teachers = _once(folder / "teachers.json", settings, lambda: _make_teachers(folder, sizes, limit_s))
    if teachers["teachers"]["fault"]:
        raise RuntimeError(f"the teachers can't be made: {teachers['teachers']['fault']}; see {folder}/teachers.log")
    settings["package"] = hash_of(REPOSITORY / "paddleslim_bilstm")
    origin_metric: dict[str, float | None] = {}
    for name in names:
        example = NLP if name.startswith(NLP.name) else HUGGING_FACE
        chain = name.split()[1]
        runner = _Runner(example, chain, checkout, folder, sizes, limit_s, origin_metric.get(example.name))
        result = _once(folder / example.name / f"{chain}.json", {**settings, "origin_metric": runner.origin_metric},
                       runner.teacher if chain == "teacher" else runner.student)
        if chain == "teacher":
            origin_metric[example.name] = result["evaluate"]["accuracy"]
        on_example(name, result)


def _once(file: Path, settings: dict[str, Any], make) -> dict[str, Any]:
    return kept_result(file, settings) or keep_result(file, settings, make())


def _make_teachers(folder: Path, sizes: Sizes, limit_s: float) -> dict[str, Any]:
    log = folder / "teachers.log"
    ended = run_process([str(HERE / "teacher_folders.py"), sizes.teacher, str(folder / "teachers"), str(WIDTH)], log,
                        limit_s)
    return {"teachers": {"fault": _fault(ended, log), "seconds": round(ended.seconds, 1)}}


def _fault(ended, log: Path) -> str:
    """Return what went wrong in a line: the end of the traceback, or how the process ended."""
    if ended.code == 0:
        return ""
    lines = [line for line in log_lines(log) if line.strip()]
    told = [line for line in lines if _TRACE_END.match(line)] or lines[-1:]
    return "; ".join(filter(None, [ended.fault, told[-1] if told and ended.code is not None else ""]))[:400]


@dataclass(frozen=True)
class _Runner:
    example: Example
    chain: str
    checkout: Path
    results: Path
    sizes: Sizes
    limit_s: float
    origin_metric: float | None

    @property
    def place(self) -> Path:
        return self.results / self.example.name / self.chain

    def teacher(self) -> dict[str, Any]:
        model = self._teacher_folder()
        return {"evaluate": self._evaluate(model), "inference": self._inference(model)}

    def student(self) -> dict[str, Any]:
        out = self.place / "out"
        shutil.rmtree(out, ignore_errors=True)
        config = self._config(self._teacher_folder(), {
            "bert_to_bilstm": {}, "DataAugmentation": {"n_iter": self.sizes.rounds}, **CHAINS[self.chain]})
        compress = self._script("run.py", "compress", ["--config_path", str(config), "--save_dir", str(out)])
        report = out / "report.json"
        models = json.loads(report.read_text(encoding="utf-8"))["models"] if report.is_file() else []
        metrics = {model["name"]: model.get("metric") for model in models}
        files = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
        result = {"compress": compress, "files": files, "report": metrics}
        if any(name.endswith(".pdmodel") for name in files):
            result |= {"evaluate": self._evaluate(out), "inference": self._inference(out)}
            accuracy, told = result["evaluate"]["accuracy"], [*metrics.values()][-1:]
            if told and accuracy is not None and abs(accuracy - told[0]) > 1e-4:
                result["evaluate"]["fault"] = f"the script measures {accuracy}, our report says {told[0]}"
        return result

    def _teacher_folder(self) -> Path:
        return self.results / "teachers" / self.example.name

    def _config(self, model: Path, sections: dict[str, Any]) -> Path:
        host = yaml.safe_load((self.example.folder(self.checkout) / self.example.yaml).read_text(encoding="utf-8"))
        train = {key: value for key, value in host["TrainConfig"].items() if key != "learning_rate"}
        train["epochs"] = self.sizes.epochs
        if self.origin_metric is not None:
            train["origin_metric"] = self.origin_metric
        config = {"Global": {**host["Global"], "model_dir": str(model), "model_filename": self.example.model_filename,
                             "params_filename": self.example.params_filename, "task_name": "sst-2", "dataset": "glue",
                             "batch_size": self.sizes.batch_size, "max_seq_length": WIDTH},
                  **sections, "TrainConfig": train}
        file = self.place / f"{'run' if sections else 'eval'}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        return file

    def _evaluate(self, model: Path) -> dict[str, Any]:
        return self._script("run.py", "evaluate", ["--config_path", str(self._config(model, {})), "--eval", "True"])

    def _inference(self, model: Path) -> dict[str, Any]:
        flags = [flag.format(model=model) for flag in self.example.inference_flags]
        return self._script("paddle_inference_eval.py", "inference", [
            "--model_path", str(model), "--model_filename", self.example.model_filename, "--params_filename",
            self.example.params_filename, "--task_name", "sst-2", "--device", "cpu", "--batch_size", "32",
            "--max_seq_length", str(WIDTH), *flags])

    def _script(self, name: str, part: str, arguments: list[str]) -> dict[str, Any]:
        """Run a script of the example; ``run.py`` with the one import on top."""
        script = self.place / name
        script.parent.mkdir(parents=True, exist_ok=True)
        source = (self.example.folder(self.checkout) / name).read_text(encoding="utf-8")
        script.write_text((PLUGIN_LINE if name == "run.py" else "") + source, encoding="utf-8")
        log = self.place / f"{part}.log"
        data = self.sizes.data or str(self.results / "teachers" / "data")
        ended = run_process([str(HERE / "local_data.py"), data, str(self.sizes.rows), str(script), *arguments], log,
                            self.limit_s, {"PADDLESLIM_BILSTM_CACHE": str(self.results / "cache")}, cwd=self.place)
        return {"fault": _fault(ended, log), "accuracy": _accuracy(log), "seconds": round(ended.seconds, 1)}


def _accuracy(log: Path) -> float | None:
    """Return the accuracy that a script printed: ``Eval metric: 0.9`` or ``[benchmark]task name: sst-2, acc: 0.9.``"""
    found = re.findall(r"(?:Eval metric:|acc:)\s*([01]\.\d+)", "\n".join(log_lines(log)))
    return float(found[-1]) if found else None
