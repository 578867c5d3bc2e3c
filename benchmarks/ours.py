"""Our side of the benchmarks: the rooms of the package, called as `paddleslim-bilstm compress` calls them."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import paddle
import paddleslim  # noqa: F401  (registers our loss)
from processes import answer

from paddleslim_bilstm.augment import Corpus, TransferSet, build_transfer_set
from paddleslim_bilstm.config import Config, load_config
from paddleslim_bilstm.cpu import physical_cores
from paddleslim_bilstm.finetune.pretrained import load_pretrained, save_classifier
from paddleslim_bilstm.host.optimizer import make_optimizer_of
from paddleslim_bilstm.report.measure import flops
from paddleslim_bilstm.student.evaluate import metric_on
from paddleslim_bilstm.student.losses import loss_function
from paddleslim_bilstm.student.recipe import Recipe, first_student
from paddleslim_bilstm.student.train import Evaluate, TrainedStudent, TrainingSet
from paddleslim_bilstm.student.vocabulary import TokenVocabulary, cut_vocabulary
from paddleslim_bilstm.teacher import Teacher, label, load_teacher
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
    """Return a configuration with ``sections`` on top of the defaults."""
    sections["Global"] = {"seed": job["seed"], **sections.get("Global", {})}
    return load_config({"bert_to_bilstm": {"batch_size": job["batch_size"]},
                        "DataAugmentation": {"n_iter": job["n_iter"], "hooks": _HOOKS}, **sections})


def corpus_of(settings: Config, teacher: Teacher, texts: list[str]) -> Corpus:
    """Tokenize ``texts`` and tag their words."""
    sentences = teacher.tokenizer.encode(texts).truncate(settings.global_.max_seq_length - 2)
    corpus = Corpus.create(sentences, teacher.tokenizer, texts)
    corpus.pos_table  # noqa: B018  (made when it is first asked for)
    return corpus


def transfer_set(settings: Config, corpus: Corpus, folder: Path) -> TransferSet:
    """Augment ``corpus`` into ``folder``."""
    return build_transfer_set(corpus, settings.augmentation, settings.global_.seed, folder,
                              settings.global_.max_seq_length - 2)


def distil(settings: Config, teacher: Teacher, sentences: Sentences, logits: np.ndarray, evaluate,
           folder: Path) -> TrainedStudent:
    """Train the student on ``sentences`` as a run does, checkpoints in ``folder``."""
    names = tuple(str(number) for number in range(teacher.num_classes))
    vocabulary = TokenVocabulary(teacher.tokenizer, teacher.framing, cut_vocabulary(teacher.tokenizer, sentences))
    spec, first, _ = first_student(settings, names, vocabulary, sentences.pairs, teacher.embeddings)
    recipe = Recipe(settings, loss_function(settings.distill.loss), make_optimizer_of(settings.train), evaluate,
                    "benchmark", folder)
    return recipe.distil(spec, first, TrainingSet(sentences, logits, None), "benchmark")


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
        network, tokenizer_folder = load_pretrained(job["teacher"], job["classes"], Path(scratch))
        (work / "teacher").mkdir()
        save_classifier(network, [str(number) for number in range(job["classes"])], tokenizer_folder,
                        work / "teacher")
    paddle.enable_static()
    texts = json.loads((work / "train.json").read_text())["texts"]
    teacher = load_teacher(work / "teacher", work)
    settings = settings_of(job)
    made = transfer_set(settings, corpus_of(settings, teacher, texts), work / "transfer_set")
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
        corpus = corpus_of(settings, teacher, texts["texts"])
        seconds.append(time.perf_counter())
        made = transfer_set(settings, corpus, folder / "transfer_set")
        seconds.append(time.perf_counter())
        sample = made.sentences.take(np.load(work / "rows.npy"))
        first = sample.take(np.arange(min(_FIRST_SENTENCES, len(sample) // 2)))
        label(teacher, first, folder, "first", physical_cores())  # what it needs once, and a few sentences
        seconds.append(time.perf_counter())
        labels = label(teacher, sample, folder, "sample", physical_cores())
        seconds.append(time.perf_counter())
        evaluate = Windows(evaluation(teacher, *texts["dev"]))
        distil(settings, teacher, sample, labels.logits, evaluate, folder)
        sentence = sentence_flops(teacher, sample)
    load_teacher_s, corpus_s, rounds_s, label_fixed_s, label_s = np.diff(seconds).tolist()
    return {"load_teacher_s": load_teacher_s, "augment_s": corpus_s + rounds_s, "rounds_s": rounds_s,
            "made": made.counts["made"], "label_fixed_s": label_fixed_s, "label_s": label_s - label_fixed_s,
            "labelled": len(sample) - len(first), "precision": labels.precision,
            "flops": sentence, "train_s": evaluate.between_s[0],
            "trained": job["fast_steps"] * job["batch_size"], "evaluate_s": evaluate.seconds[1],
            "steps_between_evaluations": _EVAL_ITER, "batch_size": job["batch_size"]}


def sentence_flops(teacher: Teacher, sentences: Sentences) -> float:
    """Return the matrix products' mean operations for one of ``sentences``: a quadratic function of its length."""
    tokens = np.array([8, 16, 32])
    factors = np.polyfit(tokens, [flops(teacher.prefix, int(length)) for length in tokens], 2)
    return float(np.polyval(factors, sentences.lengths + 2).mean())


def accuracies(job: dict) -> dict:
    """Run all stages on a few texts and return the dev accuracy after each epoch."""
    work = Path(job["work"])
    sample = json.loads(Path(job["sample"]).read_text())
    paddle.enable_static()
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name)
        teacher = load_teacher(work / "teacher", folder)
        made = transfer_set(settings_of(job), corpus_of(settings_of(job), teacher, sample["texts"]), folder / "set")
        labels = label(teacher, made.sentences, folder, "all", physical_cores())
        epoch_steps = -(-len(made.sentences) // job["batch_size"])
        settings = settings_of(job, TrainConfig={"epochs": job["epochs"], "eval_iter": epoch_steps})
        evaluate = evaluation(teacher, *sample["dev"])
        trained = distil(settings, teacher, made.sentences, labels.logits, evaluate, folder)
    return {"accuracies": [metric for _, metric in trained.evaluations], "sentences": len(made.sentences)}


def measure(job: dict) -> dict:
    """Do what the job asks for."""
    return {"prepare": prepare, "stages": stages, "accuracies": accuracies}[job["do"]](job)


if __name__ == "__main__":
    answer(measure)
