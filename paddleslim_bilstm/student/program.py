"""The Paddle static programs that train a student: by one rank, or by several that each take a part of every batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable

import numpy as np
import paddle

from .. import ranks
from ..teacher.hints import unpacked
from ..text.rows import Where
from ..tokens import Sentences
from ..tokens.sentences import padded_rows
from .network import (
    BASE,
    TOKEN_MAP,
    StudentNetwork,
    kept_units,
    logits_of_feeds,
    read_weights,
    student_feeds,
    write_weights,
)
from .spec import StudentSpec
from .weights import Weights

# evaluate(executor, program, feed_names, fetch_targets) -> metric, higher is better: PaddleSlim's eval_callback
Evaluate = Callable[[Any, Any, list, list], float]
# loss(student_logits, teacher_logits) -> scalar variable
StaticLoss = Callable[[Any, Any], Any]
# make_optimizer(total_steps) -> (optimizer, its learning-rate schedule or None)
MakeOptimizer = Callable[[int], tuple]


@dataclass(frozen=True)
class TrainingSet:
    """What the student learns from.

    Attributes:
        sentences: content tokens, in the teacher's ids.
        logits: the teacher's, float32 ``[n, classes]``; None when the student learns from labels alone.
        labels: the task's, such as class ids, int64 ``[n]``, its marker where a sentence has none; None when alpha
            is 0.
        where: tells where sentences were read, by their indices; for messages.
        hints: of the teacher, int8 ``[n, units]``, see `teacher.hints`; None where it has none, or none are learned.
        source: which original each was made of, int ``[n]``, if it is known.
        held_out: which sentences the student doesn't learn from, their indices; none by default.
        key: changes with the sentences, logits, hints and labels.
    """

    sentences: Sentences
    logits: np.ndarray | None
    labels: np.ndarray | None
    where: Where | None = None
    key: str = ""
    source: np.ndarray | None = None
    hints: np.ndarray | None = None
    held_out: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def learned(self) -> np.ndarray:
        """Which sentences the student learns from, their indices."""
        return np.delete(np.arange(len(self.sentences)), self.held_out)


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how the student is trained.

    Attributes:
        total_steps: batches in all.
        batch_size: sentences of a batch.
        alpha: weight of the task's hard-label loss; the distillation loss has ``1 - alpha`` (the tutorial's alpha).
        dropout: share of embedding units dropped in training.
        eval_iter: steps between two evaluations (PaddleSlim's ``TrainConfig.eval_iter``).
        target_metric: training stops once the metric exceeds it; None to go on to the end.
        seed: of the batches' order and of dropout.
        hint_weight: weight of the hints' mean squared error, which joins the loss.
    """

    total_steps: int
    batch_size: int
    alpha: float
    dropout: float
    eval_iter: int
    target_metric: float | None
    seed: int
    hint_weight: float = 0.0


class TrainingProgram:
    """The training program and the drop-in program, both in the current scope, with shared weights.

    With ``base``, float32 ``[rows, units]``, the embedding is trained as a `ProjectedEmbedding` of its first
    ``occurring_rows``, those that training can meet; the drop-in's is put together when it is asked for.
    With ``hint_units`` the student learns so many of the teacher's hints beside the rest; the loss that `step` returns
    goes without them.
    """

    def __init__(self, spec: StudentSpec, first: Weights, plan: TrainingPlan, loss: StaticLoss | None,
                 make_optimizer: MakeOptimizer, base: np.ndarray | None = None, occurring_rows: int = 0,
                 hint_units: int = 0):
        self._hint_units = hint_units
        self._base, self._occurring_rows = base, len(first["embedding"]) if base is None else occurring_rows
        self._token_map = first[TOKEN_MAP]
        self._scope = paddle.static.global_scope()
        self._place = paddle.framework._current_expected_place()
        self._executor = paddle.static.Executor(self._place)
        self._build_training(spec, plan, loss, make_optimizer)
        self._build_drop_in(spec, len(first["embedding"]))
        self._write({self._names[name]: value for name, value in first.items() if name in self._names})
        self._write({TOKEN_MAP: self._token_map})
        if base is not None:
            units, occurring = np.eye(base.shape[1], spec.table_units, dtype=np.float32), base[:occurring_rows]
            self._write({BASE: occurring, self._network.embedder.projection.name: units,
                         self._network.embedder.weight.name: np.zeros((occurring_rows, spec.table_units), np.float32)})

    def _build_training(self, spec, plan, loss, make_optimizer):
        self._program, startup = paddle.static.Program(), paddle.static.Program()
        self._program.random_seed = startup.random_seed = plan.seed % 2**31  # an operator's attribute, int32
        with paddle.static.program_guard(self._program, startup), paddle.utils.unique_name.guard():
            rows = paddle.static.data("rows", [-1, -1], "int64")
            lengths = paddle.static.data("lengths", [-1], "int32")
            network = self._training_network(spec, plan)
            self._network, self._dropout, self._seed = network, plan.dropout, plan.seed
            kept = paddle.static.data("kept", network.embedded_shape(-1, -1), "uint8") if plan.dropout else None
            self._occurring = paddle.static.data("occurring", [-1], "int64")
            features = network.features(rows, lengths, kept, self._occurring)
            self._loss = self._minimised = self._total_loss(spec, network.logits_of(features), loss, plan.alpha)
            if self._hint_units:
                hints = paddle.static.data("hints", [-1, self._hint_units], "float32")
                error = paddle.nn.functional.mse_loss(network.hints_of(features), hints)
                self._minimised = self._loss + plan.hint_weight * error
            self._uses_labels = loss is None or plan.alpha > 0
            self._uses_logits = loss is not None and plan.alpha < 1
            self._add_update(spec, plan, make_optimizer)
            self._executor.run(startup)

    def _training_network(self, spec, plan):
        units = None if self._base is None else self._base.shape[1]
        return StudentNetwork(spec, self._occurring_rows, plan.dropout, training=True, base_units=units,
                              hint_units=self._hint_units)

    def _add_update(self, spec, plan, make_optimizer):
        optimizer, self._schedule = make_optimizer(plan.total_steps)
        optimizer.minimize(self._minimised)
        self._updating = self._program

    @staticmethod
    def _total_loss(spec, logits, loss, alpha):
        hard = soft = 0.0
        if loss is None or alpha > 0:
            task = spec.task
            labels = paddle.static.data("labels", [-1, *task.label_shape(spec.num_classes)], task.dtype)
            hard = task.hard_loss(logits, labels)
        if loss is None:
            return hard
        if alpha < 1:
            teacher_logits = paddle.static.data("teacher_logits", [-1, spec.num_classes], "float32")
            soft = loss(logits, teacher_logits)
        return alpha * hard + (1 - alpha) * soft

    def _build_drop_in(self, spec, rows_count):
        self._drop_in = paddle.static.Program()
        with paddle.static.program_guard(self._drop_in, paddle.static.Program()), paddle.utils.unique_name.guard():
            feeds = student_feeds(spec)
            self._feed_names = [feed.name for feed in feeds]
            network = StudentNetwork(spec, rows_count)
            self._names = network.weight_names()
            self._fetches = [logits_of_feeds(network, spec, len(self._token_map), feeds)]

    def step(self, data: TrainingSet, batch: np.ndarray, number: int) -> float:
        """Take one optimizer step on the sentences at ``batch`` and return the loss."""
        feed = self._feed(data, batch, number)
        loss = float(self._executor.run(self._program, feed=feed, fetch_list=[self._loss])[0])
        self._advance()
        return loss

    def _feed(self, data: TrainingSet, batch: np.ndarray, number: int) -> dict[str, np.ndarray]:
        tokens, lengths = padded_rows(data.sentences, batch)
        occurring, rows = np.unique(self._token_map[tokens], return_inverse=True)
        rows = rows.reshape(tokens.shape)
        lengths = lengths if data.sentences.pairs else np.maximum(lengths, 1)  # as served, where no text is empty
        feed = {"rows": rows, "occurring": occurring.astype(np.int64), "lengths": lengths.astype(np.int32)}
        if self._dropout:
            rng = np.random.default_rng([self._seed, number])
            feed["kept"] = kept_units(self._network.embedded_shape(*rows.shape), self._dropout, rng)
        if self._uses_logits:
            feed["teacher_logits"] = data.logits[batch]
        if self._uses_labels:
            feed["labels"] = data.labels[batch]
        if self._hint_units:
            feed["hints"] = unpacked(data.hints[batch])
        return feed

    def _advance(self) -> None:
        if self._schedule is not None:
            self._schedule.step()

    def evaluate(self, evaluate: Evaluate | None) -> float | None:
        """Return the metric of the student as it stands."""
        if evaluate is None:
            return None
        self._fold()
        return float(evaluate(self._executor, self._drop_in, self._feed_names, self._fetches))

    def _fold(self) -> None:
        """Bring the drop-in's embedding up to date where it is trained as projection and offsets."""
        if self._base is not None:
            embedder = self._network.embedder
            names = {"projection": embedder.projection.name, "offsets": embedder.weight.name}
            trained = read_weights(self._scope, names)
            embedding = self._base @ trained["projection"]
            embedding[:self._occurring_rows] += trained["offsets"]
            self._write({self._names["embedding"]: embedding})

    def weights(self) -> Weights:
        self._fold()
        return read_weights(self._scope, self._names)

    def state(self) -> dict[str, np.ndarray]:
        """Copy everything that training changes: weights and the optimizer's moments."""
        return read_weights(self._scope, {name: name for name in self._persistables()})

    def restore(self, state: dict[str, np.ndarray], step: int) -> None:
        """Put a copied state back and advance the schedule to ``step``."""
        self._write(state)
        for _ in range(step if self._schedule is not None else 0):
            self._schedule.step()

    def _persistables(self) -> list[str]:
        return [variable.name for variable in self._updating.list_vars()
                if variable.persistable and variable.name not in ("feed", "fetch", BASE)
                and self._scope.find_var(variable.name) is not None
                and self._scope.find_var(variable.name).get_tensor()._is_initialized()]

    def _write(self, values: dict[str, np.ndarray]) -> None:
        write_weights(self._scope, {name: name for name in values}, values, self._place)


class SharedTrainingProgram(TrainingProgram):
    """The same for several ranks: each works through its part of a batch, and all take the step of the whole batch.

    What a rank adds to the sum of the gradients is weighed by its share of the batch, and all ranks draw the dropout of
    the whole batch, so that a step is that of one rank but for the rounding of sums. Of the embedding's gradient only
    the rows that occur in the batch are sent; every rank knows them. A rank's program ends with the gradients, a second
    one updates the weights. (Where labels are missing, a rank's mean loss is over those that its part has.)
    """

    def _add_update(self, spec, plan, make_optimizer):
        share = paddle.static.data("share", [], "float32")
        gradients = {parameter.name: gradient
                     for parameter, gradient in paddle.static.append_backward(self._minimised * share)}
        embedding = self._network.embedder.weight.name
        gradients[embedding] = paddle.gather(gradients[embedding], self._occurring)
        self._fetched = [self._loss * share, *gradients.values()]
        self._updating, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.static.program_guard(self._updating, startup), paddle.utils.unique_name.guard():
            parameters = {one.name: one for one in self._training_network(spec, plan).parameters()}
            occurring, summed = paddle.static.data("occurring", [-1], "int64"), []
            for name in gradients:
                shape = parameters[name].shape
                gradient = paddle.static.data(f"{name}.summed", [-1, *shape[1:]] if name == embedding else shape)
                if name == embedding:
                    gradient = paddle.scatter(paddle.zeros(shape), occurring, gradient)
                summed.append((parameters[name], gradient))
            optimizer, self._schedule = make_optimizer(plan.total_steps)
            optimizer.apply_gradients(summed)
            self._executor.run(startup)
        shapes = {name: parameters[name].shape for name in gradients}
        self._shapes = {f"{name}.summed": [-1, *shape[1:]] if name == embedding else shape
                        for name, shape in shapes.items()}

    def step(self, data: TrainingSet, batch: np.ndarray, number: int) -> float:
        """Take one optimizer step, together with the other ranks, on the sentences at ``batch`` and return the loss."""
        feed = self._feed(data, batch, number)
        occurring = feed["occurring"]
        sizes = [len(occurring) * shape[1] if shape[0] < 0 else int(np.prod(shape)) for shape in self._shapes.values()]
        flat = np.zeros(1 + sum(sizes), np.float32)
        own = np.array_split(np.arange(len(batch)), ranks.count())[ranks.rank()]
        if len(own):
            part = {name: self._part_of(name, array, own, len(batch)) for name, array in feed.items()}
            part.update(share=np.array(len(own) / len(batch), np.float32))
            found = self._executor.run(self._program, feed=part, fetch_list=self._fetched)
            flat = np.concatenate([array.reshape(-1) for array in found])
        flat = ranks.sum_of_all(flat)
        parts = np.split(flat, np.cumsum([1, *sizes])[:-1])
        summed = {name: part.reshape(shape) for (name, shape), part in zip(self._shapes.items(), parts[1:])}
        self._executor.run(self._updating, feed={"occurring": occurring, **summed})
        self._advance()
        return float(flat[0])

    def _part_of(self, name: str, array: np.ndarray, own: np.ndarray, batch: int) -> np.ndarray:
        """Return the part of a feed that belongs to the sentences ``own`` of a batch; of pairs, to both sides."""
        if name == "occurring":
            return array
        if name in ("rows", "lengths", "kept"):
            axis = 0
            if name == "kept":
                one, two = self._network.embedded_shape(1, 1), self._network.embedded_shape(2, 1)
                axis = next(place for place, (fewer, more) in enumerate(zip(one, two)) if fewer != more)
            own = np.concatenate([own + side for side in range(0, array.shape[axis], batch)])
            return np.ascontiguousarray(array.take(own, axis))
        return array[own]
