"""The model card of a student's folder, README.md: its head is what model hubs read, its code runs in the folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Mapping, Sequence

import yaml

from .. import __version__
from ..config.schema import BEST_ON_DEV
from ..run import CARD_TAG, published_name
from ..student.spec import StudentSpec
from ..task import metrics_by_name
from ..tokens.framing import IDS, LENGTHS, MASK, TYPES, ZEROS, Feed
from .measure import TEACHER
from .report import Report, compact, label_table, markdown_table, quality

# our metrics -> what hubs call them
_HUB_METRICS = {"accuracy": "accuracy", "f1": "f1", "macro_f1": "f1", "micro_f1": "f1",
                "matthews": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr"}
_INT8_FILE, _FLOAT_FILE = "model.int8.onnx", "model.onnx"
_LENGTH = 16  # of the sentence in the examples, unless the student has a fixed one


def model_card(report: Report, spec: StudentSpec, language: str | None = None) -> str:
    """Return README.md of a student's folder.

    Args:
        language: of its text, as ISO 639-1 has it, where it is known.
    """
    parts = [_head(report, spec, language), f"# {card_title(report)}\n\n{_what(report, spec)}\n\n{report.headline}",
             f"## How it was made\n\n{_making(report)}",
             f"## How good it is\n\n{markdown_table(report.models)}\n\n{_measured(report)}{_labels(report)}",
             f"## Limits\n\n{_limits(report, spec)}",
             f"## How to load it\n\n{_loading(report, spec)}"]
    return "\n\n".join(parts) + "\n"


def _head(report: Report, spec: StudentSpec, language: str | None) -> str:
    """Return the block of metadata: Hugging Face's names, which ModelScope and AI Studio read, too."""
    metrics = [metric for metric in _HUB_METRICS if any(row.figure(metric) is not None for row in report.models)]
    tags = [CARD_TAG, "knowledge-distillation", spec.encoder, "paddlepaddle", "onnx"]
    head = {"language": language, "pipeline_tag": "text-classification",
            "tags": tags + ["int8"] * _has_int8(report),
            "metrics": list(dict.fromkeys(_HUB_METRICS[metric] for metric in metrics))}
    known = {key: value for key, value in head.items() if value}
    return f"---\n{yaml.safe_dump(known, sort_keys=False, allow_unicode=True)}---"


def card_title(report: Report) -> str:
    """Return what a student is called: by its teacher."""
    return f"{_teacher_name(report)}, distilled"


def _teacher_name(report: Report) -> str:
    """Return the last part of the teacher's path: the others say something of a machine, not of the model."""
    settings = report.config.get("Global", {})
    places = settings.get("model_dir") or settings.get("teacher_labels") or TEACHER
    paths = [Path(os.path.abspath(place)) for place in ([places] if isinstance(places, str) else places)]
    return " and ".join(path.parent.name or path.stem if path.suffix == ".onnx" else path.name for path in paths)


def _what(report: Report, spec: StudentSpec) -> str:
    texts = "pairs of texts" if spec.pairs else "texts"
    task = spec.task.what_it_does(texts, spec.num_classes, _shown_names(spec.label_names))
    tokenizer = "its teacher's tokenizer" if report.has_teacher_model else "the tokenizer beside it"
    reads = (f"words of its own (`words.txt`), of texts cut to {spec.max_seq_length} tokens of {tokenizer}"
             if spec.reads_words else
             f"the tokens of {tokenizer}, at most {spec.max_seq_length} of them with `[CLS]` and `[SEP]`")
    layers = f"{spec.num_layers} layer{'s' * (spec.num_layers > 1)} of {spec.hidden_size} units a direction"
    return (f"A small recurrent network (`{spec.encoder}`, {layers}, {spec.embed_dim}-dimensional embedding, pooling "
            f"`{spec.pooling}`) that {task}. It reads {reads}, and was distilled from "
            f"{'a larger classifier' if report.has_teacher_model else 'the answers of others'} by paddleslim_bilstm "
            f"{__version__}, after [Tang et al. 2019](https://arxiv.org/abs/1903.12136).")


def _shown_names(names: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _making(report: Report) -> str:
    lines = []
    teacher = report.models[0] if report.models[0].name == TEACHER else None
    if teacher is not None:
        size = "" if teacher.parameters is None else f" of {compact(teacher.parameters)} parameters"
        what = f", a fine-tuned classifier{size}" if report.has_teacher_model else ", answers from elsewhere"
        lines.append(f"- **Teacher**: `{_teacher_name(report)}`{what}: {quality(teacher, report.metric)}.")
    counts = [f"{report.data[key]:,} {what}" for key, what in (
        ("train", "labelled rows to train on"), ("unlabeled", "unlabelled texts"), ("dev", "dev rows"))
        if report.data.get(key)]
    lines.append(f"- **Data**: {', '.join(counts) or 'not counted'}.")
    if report.transfer_set.get("made"):
        counts = report.transfer_set
        distinct = counts["made"] - counts.get("duplicates", 0) - counts.get("without an answer", 0)
        rounds = counts["made"] // max(counts.get("originals", 0), 1) - 1
        in_rounds = f" in {rounds} round{'s' if rounds > 1 else ''}" if rounds > 0 else ""
        lines.append(f"- **Transfer set**: {distinct:,} distinct sentences made of them{in_rounds} by "
                     f"{_hooks(report.config)}, labelled by the teacher.")
    settings = report.config.get("bert_to_bilstm", {})
    seed = settings.get("seed")
    seed = report.config.get("Global", {}).get("seed", 0) if seed is None else seed
    lines.append(f"- **Training**: loss `{settings.get('loss', 'logit_mse')}` on the teacher's answers, weight of the "
                 f"labels {settings.get('alpha', 0):g}, seed {seed}; all settings are in `report.json`.")
    return "\n".join(lines)


def _hooks(config: Mapping[str, Any]) -> str:
    section = config.get("DataAugmentation", {})
    names = [name for hook in section.get("hooks", []) for name in hook] if section.get("n_iter") != 0 else []
    return ", ".join(f"`{name}`" for name in names) or "no augmentation"


def _measured(report: Report) -> str:
    on = "dev rows" if report.data.get("dev") else "training sentences"
    chosen_by = report.chosen_by or metrics_by_name()[report.metric].title
    return (f"On the {on}; speed on one CPU thread. The best checkpoint was chosen by {chosen_by}. `report.md` says "
            "how each figure was measured.")


def _labels(report: Report) -> str:
    if not report.labels:
        return ""
    shown = [report.models[0], report.models[-1]][report.models[0].name != TEACHER:]
    how = ("each label's best on the dev rows, with caution where few have it" if report.config.get("Global", {}).get(
        "threshold") == BEST_ON_DEV else "set")
    return ("\n\nA label is answered where its probability is above its threshold, which was "
            f"{how} (`student.json` has it, `Predictor` goes by it):\n\n{label_table(report.labels, shown)}")


def _limits(report: Report, spec: StudentSpec) -> str:
    limits = ["It learned what its teacher says, so it has the teacher's mistakes and leanings, too.",
              "Text unlike that of its training was not tried.",
              f"What is longer than {spec.max_seq_length} tokens is cut."]
    if report.data.get("dev") and report.chosen_by is None:
        limits.append("The dev rows also chose the best checkpoint; measure on a test set of your own.")
    if spec.pairs:
        limits.append("It reads both texts apart and compares what it has read; BERT reads them together.")
    if spec.width:
        limits.append(f"Batches must be {spec.width} tokens wide, as its teacher's.")
    return "\n".join(f"- {limit}" for limit in [*limits, *report.notes])


def _loading(report: Report, spec: StudentSpec) -> str:
    name = published_name(report.config.get("Global", {}).get("model_filename"))
    text = '("He left.", "He went away.")' if spec.pairs else '"a gripping, funny film"'
    answer = f".{spec.task.answer_field}" if spec.task.answer_field else ""
    reads = "words of `words.txt` by line, and their number" if spec.reads_words else \
        "the ids of the tokenizer beside it" + ", as the BERT that it replaces" * report.has_teacher_model
    return f"""\
In this folder, with `pip install "paddleslim-bilstm[predict]"`:

```python
from paddleslim_bilstm import Predictor
predictor = Predictor(".")
print(predictor.predict([{text}])[0]{answer})
```

Without it, the models take {reads}:

```python
{feeds_code(spec.feeds, spec.pad_id, spec.width)}
```

ONNX Runtime:

```python
from onnxruntime import InferenceSession
session = InferenceSession("{_INT8_FILE if _has_int8(report) else _FLOAT_FILE}", providers=["CPUExecutionProvider"])
logits = session.run(None, feeds)[0]
```

Paddle Inference:

```python
from paddle.inference import Config, create_predictor
config = Config("{name}.pdmodel", "{name}.pdiparams")
config.disable_mkldnn()  # on by default; slower where texts have ever new lengths
predictor = create_predictor(config)
for feed in predictor.get_input_names():
    predictor.get_input_handle(feed).copy_from_cpu(feeds[feed])
predictor.run()
logits = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
```"""


def feeds_code(feeds: Sequence[Feed], pad_id: int, width: int | None = None) -> str:
    """Return Python that makes ``feeds``, arrays by name, of one sentence."""
    values = {IDS: "ids", TYPES: "(ids * 0)", ZEROS: "(ids * 0)", MASK: f"(ids != {pad_id})", LENGTHS: "np.array([4])"}
    arrays = ", ".join(f'"{feed.name}": {values[feed.role]}.astype("{feed.dtype}")' for feed in feeds)
    what = "your words" if any(feed.role == LENGTHS for feed in feeds) else "your [CLS] tokens [SEP]"
    return (f"import numpy as np\nids = np.full((1, {width or _LENGTH}), {pad_id})  # padding\n"
            f"ids[0, :4] = [5, 6, 7, 8]  # {what}\nfeeds = {{{arrays}}}")


def _has_int8(report: Report) -> bool:
    return any(row.file == _INT8_FILE for row in report.models)
