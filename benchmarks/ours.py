"""Our side of the benchmarks: the rooms of the package, called as `paddleslim-bilstm compress` calls them."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle
import paddleslim  # noqa: F401  (registers our loss)
from processes import answer

from paddleslim_bilstm.augment import Corpus, TransferSet
from paddleslim_bilstm.config import Config, load_config
from paddleslim_bilstm.cpu import physical_cores
from paddleslim_bilstm.finetune.training import load_pretrained, save_classifier
from paddleslim_bilstm.host.optimizer import make_optimizer_of
from paddleslim_bilstm.report.costs import flops
from paddleslim_bilstm.stages import Origins, lesson, make_transfer_set
from paddleslim_bilstm.student.losses import loss_function
from paddleslim_bilstm.student.recipe import Recipe, start_student
from paddleslim_bilstm.student.train import Evaluate, TrainedStudent, metric_on
from paddleslim_bilstm.teacher import Labels, Teacher, label, load_teacher
from paddleslim_bilstm.teacher.text import TrainingText
from paddleslim_bilstm.tokens import Sentences

_EVAL_ITER = 1000  # of a long training, see TrainConfig.eval_iter
_HOOKS = ["masking", "pos_replacement", "ngram_sampling"]  # the tutorial's, and nothing of ours beside them
_FIRST_SENTENCES = 2001  # the fewest that label() checks bf16 on


class Windows:
    """An ``eval_callback`` around another: notes when each call begins and how long it takes."""

    def __init__(self, evaluate=None) -> None:
        self._evaluate = evaluate
        self.begins: list[float] = []
        self.seconds: list[float] = []

    def __call__(self, *program) -> float:
        self.begins.append(time.perf_counter())
        metric = self._evaluate(*program) if self._evaluate else 0.0
        self.seconds.append(time.perf_counter() - self.begins[-1])
        return metric

    @property
    def between_s(self) -> list[float]:
        """Seconds from each call's end to the next one's begin: training and nothing else."""
        return [later - begin - spent
                for begin, later, spent in zip(self.begins, self.begins[1:], self.seconds)]


def settings_of(job: dict, **sections: dict) -> Config:
    """Return a configuration with ``sections``, and the student ``job["student"]`` if any, on top of the defaults."""
    sections["Global"] = {"seed": job["seed"], **sections.get("Global", {})}
    return load_config({"bert_to_bilstm": {"batch_size": job["batch_size"], "student": job.get("student", {})},
                        "DataAugmentation": {"n_iter": job["n_iter"], "hooks": _HOOKS}, **sections})


def text_of(settings: Config, teacher: Teacher, texts: list[str]) -> TrainingText:
    """Return ``texts`` as the text of a run, without labels and without a dev set."""
    sentences = teacher.tokenizer.encode(texts).truncate(settings.global_.max_seq_length - 2)
    names = tuple(str(number) for number in range(teacher.num_classes))
    return TrainingText(sentences, None, texts, sentences.take(np.arange(0)), None, names, {})


def part(made: TransferSet, rows: np.ndarray) -> TransferSet:
    """Return the rows of a transfer set as one."""
    return replace(made, sentences=made.sentences.take(rows), source=made.source[rows])


def distil(settings: Config, teacher: Teacher, text: TrainingText, made: TransferSet, labels: Labels,
           evaluate: Evaluate, folder: Path) -> TrainedStudent:
    """Train the student on a transfer set as a run does, checkpoints in ``folder``."""
    student = start_student(settings, teacher, text, made)
    recipe = Recipe(settings, loss_function(settings.distill.loss), make_optimizer_of(settings.train), evaluate,
                    "benchmark", folder)
    return recipe.distil(student, lesson(settings, student, labels, Origins(text, made)))


def evaluation(teacher: Teacher, texts: list[str], labels: list[int]) -> Evaluate:
    """Return the evaluation that a run has: accuracy on the dev set."""
    return metric_on(teacher.tokenizer.encode(texts), np.array(labels), teacher.framing)


def prepare(job: dict) -> dict:
    """Write the teacher as a PaddleNLP checkpoint, and what both sides work on: texts and transfer set.

    ``rows.npy`` is a sample of the transfer set; ``sample.json`` holds the first of its sentences, as tokens, for the
    tutorial's training, and some texts for its augmentation.
    """
    work = Path(job["work"])
    with tempfile.TemporaryDirectory() as scratch:
        network, _, tokenizer_folder = load_pretrained(job["teacher"], job["classes"], Path(scratch))
        (work / "teacher").mkdir()
        save_classifier(network, [str(number) for number in range(job["classes"])], tokenizer_folder,
                        work / "teacher")
    paddle.enable_static()
    texts = json.loads((work / "train.json").read_text())["texts"]
    teacher = load_teacher(work / "teacher", work)
    settings = settings_of(job)
    made = make_transfer_set(settings, teacher, text_of(settings, teacher, texts), work)
    rng = np.random.default_rng(job["seed"])
    rows = rng.permutation(len(made.sentences))[:job["label_sample"]]
    np.save(work / "rows.npy", rows)
    vocab = teacher.tokenizer.vocab
    slow = rows[:job["slow_batches"] * job["batch_size"]]
    sentences = [[vocab[token] for token in made.sentences[row]] for row in slow]
    few = [texts[row] for row in rng.permutation(len(texts))[:job["slow_texts"]]]
    (work / "sample.json").write_text(json.dumps({"texts": few, "sentences": sentences}))
    return {"texts": len(texts), **made.counts, "distinct": len(made.sentences),
            "tokens": len(made.sentences.tokens) / len(made.sentences)}


def stages(job: dict) -> dict:
    """Time each stage: all of the augmentation, and labelling and training on a sample of what it makes."""
    work = Path(job["work"])
    texts = json.loads((work / "train.json").read_text())
    settings = settings_of(job, TrainConfig={"train_iter": 2 * job["fast_steps"], "eval_iter": job["fast_steps"]})
    paddle.enable_static()
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder, seconds = Path(name), [time.perf_counter()]
        teacher = load_teacher(work / "teacher", folder)
        seconds.append(time.perf_counter())
        text = text_of(settings, teacher, texts["texts"])
        read_s = time.perf_counter() - seconds[-1]
        Corpus.create(text.train, teacher.tokenizer, text.train_texts).pos_table  # noqa: B018  (made when asked for)
        seconds.append(time.perf_counter())
        made = make_transfer_set(settings, teacher, text, folder)
        seconds.append(time.perf_counter())
        sample = part(made, np.load(work / "rows.npy"))
        first = part(sample, np.arange(min(_FIRST_SENTENCES, len(sample.sentences) // 2)))
        label(teacher, first.sentences, folder, "first", physical_cores())  # what it needs once, and a few sentences
        seconds.append(time.perf_counter())
        labels = label(teacher, sample.sentences, folder, "sample", physical_cores())
        seconds.append(time.perf_counter())
        evaluate = Windows(evaluation(teacher, *texts["dev"]))
        distil(settings, teacher, text, sample, labels, evaluate, folder)
        sentence = sentence_flops(teacher, sample.sentences)
    load_teacher_s, corpus_s, augment_s, label_fixed_s, label_s = np.diff(seconds).tolist()
    return {"load_teacher_s": load_teacher_s, "augment_s": read_s + augment_s,
            "rounds_s": read_s + augment_s - corpus_s,
            "made": made.counts["made"], "label_fixed_s": label_fixed_s, "label_s": label_s - label_fixed_s,
            "labelled": len(sample.sentences) - len(first.sentences), "precision": labels.precision,
            "flops": sentence, "train_s": evaluate.between_s[0],
            "trained": job["fast_steps"] * job["batch_size"], "evaluate_s": evaluate.seconds[1],
            "steps_between_evaluations": _EVAL_ITER, "batch_size": job["batch_size"]}


def sentence_flops(teacher: Teacher, sentences: Sentences) -> float:
    """Return the matrix products' mean operations for one of ``sentences``: a quadratic function of its length."""
    tokens = np.array([8, 16, 32])
    factors = np.polyfit(tokens, [flops(teacher.model_file.with_suffix(""), int(length)) for length in tokens], 2)
    return float(np.polyval(factors, sentences.lengths + 2).mean())


def accuracies(job: dict) -> dict:
    """Run all stages on a few texts and return the dev accuracy after each epoch."""
    work = Path(job["work"])
    sample = json.loads(Path(job["sample"]).read_text())
    paddle.enable_static()
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name)
        teacher = load_teacher(work / "teacher", folder)
        text = text_of(settings_of(job), teacher, sample["texts"])
        made = make_transfer_set(settings_of(job), teacher, text, folder)
        labels = label(teacher, made.sentences, folder, "all", physical_cores())
        epoch_steps = -(-len(made.sentences) // job["batch_size"])
        settings = settings_of(job, TrainConfig={"epochs": job["epochs"], "eval_iter": epoch_steps})
        evaluate = evaluation(teacher, *sample["dev"])
        trained = distil(settings, teacher, text, made, labels, evaluate, folder)
    return {"accuracies": [metric for _, metric, _ in trained.evaluations], "sentences": len(made.sentences)}


def measure(job: dict) -> dict:
    """Do what the job asks for."""
    return {"prepare": prepare, "stages": stages, "accuracies": accuracies}[job["do"]](job)


if __name__ == "__main__":
    answer(measure)
