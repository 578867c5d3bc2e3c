"""The files of a report: report.json for programs, report.html, .md and .png for people, README.md for model hubs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from ..config.schema import WORDS
from ..run import CARD_FILE, published_name
from ..storage import whole_file, write_json
from ..student.spec import StudentSpec
from ..task import DEV_SENTENCES, TRAINING_SENTENCES, metrics_by_name
from ..tokens import BERT_FEEDS
from .card import card_title, feeds_code, model_card
from .comparison import Comparison
from .machine import describe, hardware, versions
from .measure import BATCH_SIZE, PASSES, SINGLE_SENTENCES, ModelRow
from .page import Variant, report_page
from .plot import save_plot
from .report import Report, data_table, label_table, markdown_table

_LOADING = '''\
```python
import zlib  # before Paddle: Paddle 2.6 brings its own copy
from paddle.inference import Config, create_predictor

config = Config("MODEL.pdmodel", "MODEL.pdiparams")
config.disable_mkldnn()  # on by default; slower where texts have ever new lengths
config.set_cpu_math_library_num_threads(1)
predictor = create_predictor(config)

FEEDS
for name in predictor.get_input_names():
    predictor.get_input_handle(name).copy_from_cpu(feeds[name])
predictor.run()
logits = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()  # [batch, classes]
```'''
_TOKENS = {
    "what": "The model takes the feeds of the BERT that it replaces and returns logits of the same shape, so code that "
            "serves the teacher runs it unchanged.",
    "tokenizer": "The tokenizer is the teacher's; its files lie beside the model.",
}
_TOKENS_WITHOUT_MODEL = {
    "what": "The model takes the ids of the tokenizer beside it, as a BERT does, and returns logits.",
    "tokenizer": "The tokenizer's files lie beside the model.",
}
_WORDS = {
    "what": "The model takes words of its own and their number, and returns logits of the teacher's shape.",
    "tokenizer": "`words.txt` holds the words, the first line has id 0. A word is a group of tokens of the tokenizer "
                 "beside it; Chinese words are cut by jieba.",
}


def write_report(save_dir: str | Path, rows: Sequence[ModelRow], config: Mapping[str, Any],
                 seconds: Mapping[str, float], data_counts: Mapping[str, Any],
                 transfer_set: Mapping[str, Any], notes: Sequence[str] = (),
                 metric: str = "accuracy", chosen_by: str | None = None, spec: StudentSpec | None = None,
                 language: str | None = None, labels: np.ndarray | None = None,
                 training: Mapping[str, Mapping[str, Any]] | None = None, comparison: Comparison | None = None,
                 examples: Sequence[Sequence[Variant]] = (), evaluated_by: str | None = None) -> Report:
    """Write report.json, .md, .html and .png and, of a student, its model card into ``save_dir``; return the report.

    Args:
        rows: teacher first, the final model last.
        config: JSON-able settings.
        seconds: of each stage, in order.
        metric: what the models are judged by, a name of the task's.
        chosen_by: what chose the best checkpoint, if not ``metric``.
        spec: the student that the card is about; no card without one.
        language: of the text, as ISO 639-1 has it, where it is known.
        labels: of the dev set, as the task has them; None where it has none.
        training, evaluated_by: see `Report`.
        comparison: of the teacher and the final model on the dev set; None where the teacher's answers aren't known.
        examples: of the transfer set, see `report_page`.
    """
    if not rows:
        raise ValueError("a report needs at least one model")
    report = Report(tuple(rows), config, seconds, data_counts, transfer_set, versions(), hardware(), metric,
                    tuple(notes), chosen_by, _label_facts(spec, labels) if rows[0].by_label else (), training or {},
                    evaluated_by)
    folder, feeds = Path(save_dir), feeds_code(*((spec.feeds, spec.pad_id, spec.width) if spec else (BERT_FEEDS, 0)))
    sections = _sections(report, feeds)
    with whole_file(folder / "report.png") as partial:
        save_plot(report.models, partial, metric)
    with whole_file(folder / "report.md") as partial:
        partial.write_text(_markdown(report, sections), encoding="utf-8")
    with whole_file(folder / "report.html") as partial:
        partial.write_text(report_page(report, card_title(report), sections, comparison, examples), encoding="utf-8")
    if spec is not None:
        with whole_file(folder / CARD_FILE) as partial:
            partial.write_text(model_card(report, spec, language), encoding="utf-8")
    write_json(folder / "report.json", report.as_json())
    return report


def _label_facts(spec: StudentSpec, labels: np.ndarray) -> tuple[Mapping[str, Any], ...]:
    return tuple({"label": name, "dev_rows": int(count), "threshold": threshold}
                 for name, count, threshold in zip(spec.label_names, labels.sum(axis=0), spec.thresholds))


def _markdown(report: Report, sections: Mapping[str, str]) -> str:
    """Return report.md: the headline, the table, the sections."""
    parts = [f"# A Bi-LSTM in place of BERT\n\n{report.headline}", markdown_table(report.models),
             "![quality against latency](report.png)", *(f"## {title}\n\n{text}" for title, text in sections.items())]
    return "\n\n".join(parts) + "\n"


def _sections(report: Report, feeds: str) -> dict[str, str]:
    """Return what stands below the table, Markdown by title; ``feeds`` is code that makes the model's feeds."""
    notes = [f"- {note}" for note in (*report.notes, *(f"{row.name}: {note}" for row in report.models
                                                       for note in row.notes))]
    parts = {"Label by label": label_table(report.labels, report.models) if report.labels else "",
             "Notes": "\n".join(notes),
             "Where the time went": _seconds(report),
             "The data": data_table(report.data, report.transfer_set),
             "How it was measured": _method(report),
             "How to load the model": _loading(report, feeds)}
    return {title: text for title, text in parts.items() if text}


def _seconds(report: Report) -> str:
    total = sum(report.seconds.values())
    lines = [f"| {stage} | {_duration(value)} | {value / total * 100 if total else 0:.0f} % |"
             for stage, value in report.seconds.items()]
    return "\n".join(["| stage | time | share |", "|---|---:|---:|", *lines, f"| all | {_duration(total)} | |"])


def _method(report: Report) -> str:
    runtimes = ", ".join(dict.fromkeys(row.runtime for row in report.models if row.runtime))
    flops_tokens = ", ".join(str(tokens) for tokens in dict.fromkeys(row.flops_tokens for row in report.models))
    settings = ", ".join(f"{name}={value}" for name, value in report.hardware["cpu_settings"].items()) or "none"
    packages = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return "\n".join([
        *_columns_explained(report),
        f"- The best checkpoint is chosen by {report.chosen_by or metrics_by_name()[report.metric].title}.",
        "- **params, size**: stored weights (float or int8; tables of integers and scales left out), and the bytes of "
        "the model's files on disk.",
        f"- **FLOPs**: two for each multiply-add of matrix products, convolutions and LSTMs in the exported program, "
        f"for one sentence of {flops_tokens} tokens{'' if _reads_words(report) else ', `[CLS]` and `[SEP]` included'}.",
        f"- **p50, p99**: milliseconds from token ids to logits at batch 1, over up to {SINGLE_SENTENCES} "
        f"{_sentences(report)} in {runtimes}; each sentence counts with its median of {PASSES} passes after a "
        "warm-up, so p99 shows the long sentences.",
        f"- **sent./s**: batches of {BATCH_SIZE} {_sentences(report)} of similar length, same runtime, median of "
        f"{PASSES} passes.",
        f"- **Machine**: {describe(dict(report.hardware))}.",
        f"- **CPU settings**: {settings}.",
        f"- **Software**: {packages}.",
    ])


def _columns_explained(report: Report) -> list[str]:
    """Return what the task says of its columns; without labels there is only that of the likeness to the teacher."""
    lines, likeness = report.task.how_measured(_sentences(report)), report.task.likeness.column.removesuffix(" %")
    if any(row.figure(metric.name) is not None for row in report.models for metric in report.task.metrics):
        return lines
    return [line for line in lines if f"**{likeness}**" in line] or lines


def _sentences(report: Report) -> str:
    """Say what models are compared on: training sentences where no dev set was named."""
    return DEV_SENTENCES if report.data.get("dev") else TRAINING_SENTENCES


def _loading(report: Report, feeds: str) -> str:
    mkl = report.hardware["cpu_settings"].get("MKL_DEBUG_CPU_TYPE")
    parts = _WORDS if _reads_words(report) else _TOKENS if report.has_teacher_model else _TOKENS_WITHOUT_MODEL
    name = published_name(report.config.get("Global", {}).get("model_filename"))
    code = _LOADING.replace("FEEDS", feeds).replace("MODEL", name)
    text = f"{parts['what']} In this folder:\n\n{code}\n\n{parts['tokenizer']}"
    if mkl is None:
        return text
    return (f"{text} The figures above were measured with `MKL_DEBUG_CPU_TYPE={mkl}` in the environment, which "
            "must be there before Paddle loads; without it Paddle is slower on AMD processors.")


def _reads_words(report: Report) -> bool:
    return report.config.get("bert_to_bilstm", {}).get("student", {}).get("vocabulary") == WORDS


def _duration(seconds: float) -> str:
    """``4521 -> "75 min 21 s"``, ``3.24 -> "3.2 s"``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"
