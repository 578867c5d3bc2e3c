"""The text of a run, tokenized: from files, Python lists or a data loader."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, Sequence

import numpy as np

from .. import ranks
from ..config import Config
from ..errors import UserError
from ..progress import progress_bar
from ..storage import checksum
from ..task import DEV_SENTENCES, TRAINING_SENTENCES, task_named
from ..text import Dataset, Text, load_dataset, load_dev_set
from ..text.rows import Rows
from ..tokens import Sentences
from . import Teacher

_log = logging.getLogger(__name__)

_SHOWN_PLACES = 64  # in a message; half a default batch
_SHOWN_SENTENCES = 1000  # of the training text, on which models are compared when there is no dev set


@dataclass(frozen=True)
class TrainingText:
    """What the student learns from and is compared on.

    Attributes:
        train: the originals, cut to the served length; unlabelled ones last.
        train_labels: the task's, such as int64 ``[n]``, with its marker for unlabelled ones; None where nothing is
            labelled.
        train_texts: the texts (or pairs of texts) behind ``train``; None when only token ids came in.
        dev: the sentences on which models are compared.
        dev_labels: likewise; None where they have no labels.
        label_names: in the order of the logits.
        counts: for the report.
        notes: for the report.
        rows: what was read for ``train``, part by part; empty when only token ids came in.
        dev_texts: the texts (or pairs of texts) behind ``dev``; None when only token ids came in.
    """

    train: Sentences
    train_labels: np.ndarray | None
    train_texts: list[Text] | None
    dev: Sentences
    dev_labels: np.ndarray | None
    label_names: tuple[str, ...]
    counts: dict[str, Any]
    notes: tuple[str, ...] = field(default=())
    rows: tuple[Rows, ...] = field(default=())
    dev_texts: list[Text] | None = None

    @property
    def compared_on(self) -> str:
        """What the sentences of ``dev`` are called."""
        return DEV_SENTENCES if self.counts.get("dev") else TRAINING_SENTENCES

    def where(self, sentences: np.ndarray) -> str:
        """Return where sentences of ``train`` (their indices) were read, such as ``train.tsv:2,7,9``."""
        parts, first, left = [], 0, _SHOWN_PLACES
        for rows in self.rows:
            index = np.unique(sentences[(sentences >= first) & (sentences < first + len(rows.places))]) - first
            if len(index) and left:
                parts.append(rows.at(",".join(str(rows.places[one]) for one in index[:left])))
            first, left = first + len(rows.places), max(left - len(index), 0)
        more = len(np.unique(sentences)) - _SHOWN_PLACES
        return ", ".join(parts) + (f" and {more} more" if more > 0 else "") or "train_dataloader"


def read_training_text(settings: Config, teacher: Teacher, train: Any = None, dev: Any = None, unlabeled: Any = None,
                       train_dataloader: Any = None) -> TrainingText:
    """Read the text that the settings name, or the rows given, or else the token ids of ``train_dataloader``.

    Args:
        dev: rows, or beside token ids of ``train_dataloader`` a loader of the dev set's.

    Raises:
        UserError: there is no text, or something in it is wrong.
    """
    global_ = settings.global_
    if train is None and not (global_.train_file or global_.dataset):
        if train_dataloader is None:
            raise UserError("Global.train_file: no training text; name a file, or give Global.dataset, train=[(text, "
                            "label), ...] or train_dataloader")
        if global_.unlabeled_file or unlabeled is not None:
            raise UserError("Global.unlabeled_file: can't join the token ids of train_dataloader; leave it out, or "
                            "name Global.train_file, too")
        return _from_loader(settings, teacher, train_dataloader, dev)
    if callable(dev):
        raise UserError("dev: is a data loader, which goes with the token ids of train_dataloader alone; give [(text, "
                        "label), ...]")
    return tokenized(settings, teacher, read_rows(settings, teacher.num_classes, teacher.label_names, train, dev,
                                                  unlabeled))


def read_rows(settings: Config, num_classes: int | None, label_names: Sequence[str] | None, train: Any = None,
              dev: Any = None, unlabeled: Any = None) -> Dataset:
    """Read the text that the settings name, or the rows given, with its labels where the run needs them.

    Args:
        num_classes, label_names: of the teacher; None where the labels decide.

    Raises:
        UserError: there is no text, or something in it is wrong.
    """
    needs_labels = settings.distill.alpha > 0 or settings.distill.train_alone
    return load_dataset(settings.global_, num_classes, label_names, train=train, dev=dev, unlabeled=unlabeled,
                        require_train_labels=needs_labels)


def tokenized(settings: Config, teacher: Teacher, data: Dataset) -> TrainingText:
    """Return the text of ``data`` in the teacher's tokens, cut to what is served."""
    global_ = settings.global_
    texts = [*data.train_texts, *data.unlabeled_texts]
    with progress_bar("read text", len(texts), "texts") as bar:
        full = teacher.tokenizer.encode(texts, bar.update)
    full_dev = teacher.tokenizer.encode(data.dev_texts)
    limit = _content_tokens(global_.max_seq_length, teacher, full.pairs)
    counts = {"train": len(data.train_texts), "unlabeled": len(data.unlabeled_texts), "dev": len(data.dev_texts),
              "truncated_train": int((full.lengths[:len(data.train_texts)] > limit).sum()),
              "truncated_unlabeled": int((full.lengths[len(data.train_texts):] > limit).sum()),
              "truncated_dev": int((full_dev.lengths > limit).sum()), **data.counts}
    labels = None
    if data.train_labels is not None:
        labels = task_named(global_.task).with_unlabelled(data.train_labels, len(data.unlabeled_texts))
    return TrainingText(full.truncate(limit), labels, texts, full_dev.truncate(limit), data.dev_labels,
                        tuple(data.label_names), counts, rows=data.train_rows, dev_texts=data.dev_texts)


def _from_loader(settings: Config, teacher: Teacher, train_dataloader: Any, dev: Any) -> TrainingText:
    from ..host.data_hook import read_loader
    about = teacher.tokenizer, teacher.framing, task_named(settings.global_.task), teacher.num_classes
    sentences, labels = read_loader(train_dataloader, *about)
    ranks.check_agreement("train_dataloader's text", checksum(*sentences.content), "all ranks read all of it and share "
                          "the work themselves, so give them a loader without DistributedBatchSampler")
    if settings.distill.alpha > 0 and labels is None:
        raise UserError("bert_to_bilstm.alpha: the batches of train_dataloader hold no labels; set it to 0, or yield "
                        "an array 'labels' beside the token ids")
    limit = _content_tokens(settings.global_.max_seq_length, teacher, sentences.pairs)
    counts = {"train": len(sentences), "truncated_train": int((sentences.lengths > limit).sum())}
    sentences = sentences.truncate(limit)
    names = tuple(teacher.label_names or map(str, range(teacher.num_classes)))
    if callable(dev):
        full, dev_labels = read_loader(dev, *about, name="dev", distinct=False)
        if full.pairs != sentences.pairs:
            raise UserError(f"dev: has {'pairs of' if full.pairs else 'single'} sentences, train_dataloader "
                            f"{'pairs of them' if sentences.pairs else 'single ones'}; give both the same kind")
        counts.update(dev=len(full), truncated_dev=int((full.lengths > limit).sum()))
        if dev_labels is not None and not task_named(settings.global_.task).has_label(dev_labels).all():
            dev_labels = None
        return TrainingText(sentences, labels, None, full.truncate(limit), dev_labels, names, counts)
    if dev is not None or settings.global_.dev_file:
        data = load_dev_set(settings.global_, teacher.num_classes, teacher.label_names, dev, sentences.pairs)
        full = teacher.tokenizer.encode(data.dev_texts)
        counts.update(dev=len(data.dev_texts), truncated_dev=int((full.lengths > limit).sum()), **data.counts)
        return TrainingText(sentences, labels, None, full.truncate(limit), data.dev_labels, tuple(data.label_names),
                            counts, dev_texts=data.dev_texts)
    shown = np.random.default_rng(settings.global_.seed).permutation(len(sentences))[:_SHOWN_SENTENCES]
    shown.sort()
    note = f"Agreement and speed are measured on {len(shown)} training sentences, as there is no dev set."
    return TrainingText(sentences, labels, None, sentences.take(shown), None, names, counts, (note,))


def _content_tokens(max_seq_length: int, teacher: Teacher, pairs: bool) -> int:
    """Return how many tokens of a sentence or pair are served."""
    special = teacher.framing.special_tokens(pairs)
    if max_seq_length < special + 1 + pairs:
        raise UserError(f"Global.max_seq_length: {max_seq_length} leaves no room for sentence pairs; set it to "
                        f"{special + 2} or more")
    return max_seq_length - special
