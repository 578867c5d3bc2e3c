"""The student: its network, its vocabulary and its training."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.export.paddle_model import export_paddle_model
from paddleslim_bilstm.host.optimizer import make_optimizer_of
from paddleslim_bilstm.progress import progress_bar
from paddleslim_bilstm.student import train
from paddleslim_bilstm.student.embeddings import project_embeddings
from paddleslim_bilstm.student.losses import logit_mse
from paddleslim_bilstm.student.network import StudentNetwork, kept_units
from paddleslim_bilstm.student.program import TrainingProgram
from paddleslim_bilstm.student.recurrent import MaxPooling
from paddleslim_bilstm.student.spec import StudentSpec
from paddleslim_bilstm.student.train import TrainingPlan, TrainingSet, train_student
from paddleslim_bilstm.student.vocabulary import cut_vocabulary, kept_tokens
from paddleslim_bilstm.student.weights import first_weights
from paddleslim_bilstm.task import NO_LABEL
from paddleslim_bilstm.tokens import Sentences, Tokenizer, load_tokenizer
from paddleslim_bilstm.tokens.sentences import plan_batches

pytestmark = pytest.mark.usefixtures("in_old_programs")

VOCABULARY, PAD, CLS, SEP = 40, 0, 2, 3
SPEC = StudentSpec(embed_dim=12, hidden_size=8, num_layers=1, label_names=("neg", "pos"), pad_id=PAD, max_seq_length=32)
TOKENIZER = Tokenizer(None, [str(i) for i in range(VOCABULARY)], PAD, 1, CLS, SEP, None)


@pytest.fixture(autouse=True)
def static_mode():
    paddle.enable_static()


def random_sentences(count, rng, longest=12):
    return Sentences.from_lists([rng.integers(5, VOCABULARY, rng.integers(1, longest)).tolist() for _ in range(count)])


def token_sum_task(count=400, seed=0):
    """Sentences whose teacher logits follow from the tokens they hold."""
    rng = np.random.default_rng(seed)
    sentences = random_sentences(count, rng)
    score = np.array([np.mean(np.where(ids > 20, 1.0, -1.0)) for ids in sentences], np.float32)
    logits = np.stack([-2 * score, 2 * score], 1).astype(np.float32)
    return TrainingSet(sentences, logits, (score > 0).astype(np.int64))


def weights_for(spec=SPEC, seed=0):
    token_map = np.arange(VOCABULARY, dtype=np.int32)
    return first_weights(spec, token_map, None, np.random.default_rng(seed))


def plan(steps, **changes):
    values = {"total_steps": steps, "batch_size": 32, "alpha": 0.0, "dropout": 0.2, "eval_iter": 20,
              "target_metric": None, "seed": 5}
    return TrainingPlan(**{**values, **changes})


def adam(total_steps):
    schedule = paddle.optimizer.lr.PolynomialDecay(0.02, total_steps, 0.0)
    return paddle.optimizer.Adam(schedule), schedule


def accuracy(data):
    from paddleslim_bilstm.student.train import metric_on
    return metric_on(data.sentences, data.labels, TOKENIZER.framing)


def run_exported(prefix, input_ids):
    executor = paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, feeds, fetches = paddle.static.load_inference_model(str(prefix), executor)
        assert feeds == ["input_ids", "token_type_ids"]
        feed = {"input_ids": input_ids, "token_type_ids": np.zeros_like(input_ids)}
        return executor.run(program, feed=feed, fetch_list=fetches)[0]


@pytest.mark.parametrize("num_layers, pooling", [(1, "last"), (1, "max"), (2, "max")])
def test_exported_student_answers_a_padded_batch_as_each_sentence_alone(tmp_path, num_layers, pooling):
    spec = StudentSpec(12, 8, num_layers, ("a", "b", "c"), PAD, 32, pooling=pooling)
    prefix = export_paddle_model(tmp_path, spec, weights_for(spec))
    sentences = random_sentences(9, np.random.default_rng(1), longest=20)
    together = run_exported(prefix, TOKENIZER.framing.batch(sentences, np.arange(9))[0])
    assert together.shape == (9, 3)
    for row in range(9):
        alone = run_exported(prefix, TOKENIZER.framing.batch(sentences, np.array([row]))[0])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-5)
    assert np.ptp(together, axis=0).min() > 1e-3  # the sentences are told apart


def test_exported_student_answers_an_empty_sentence(tmp_path):
    prefix = export_paddle_model(tmp_path, SPEC, weights_for())
    assert np.isfinite(run_exported(prefix, np.array([[CLS, SEP]]))).all()


@pytest.mark.parametrize("in_training", [False, True])
def test_largest_states_ignore_what_lies_behind_a_sentence(in_training):
    states = np.random.default_rng(0).uniform(-1, 1, (6, 3, 4)).astype(np.float32)
    states[0, 1] = -0.999
    lengths, program = np.array([6, 1, 3], np.int32), paddle.static.Program()
    with paddle.static.program_guard(program):
        feeds = paddle.static.data("states", [-1, -1, 4]), paddle.static.data("lengths", [-1], "int32")
        feeds[0].stop_gradient = False
        largest = MaxPooling().taken(*feeds)[1] if in_training else MaxPooling().layer(SPEC)(*feeds)
        gradient, = paddle.static.gradients(largest, feeds[0])
    found, slope = paddle.static.Executor().run(program, feed={"states": states, "lengths": lengths},
                                                fetch_list=[largest, gradient])
    expected = np.zeros_like(states)
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(found[row], states[:length, row].max(axis=0), atol=1e-6)
        expected[states[:length, row].argmax(axis=0), row, np.arange(4)] = 1
    np.testing.assert_array_equal(slope, expected)


@pytest.mark.parametrize("encoder", ["bilstm", "bigru"])
@pytest.mark.parametrize("pooling", ["last", "max", "attention"])
@pytest.mark.parametrize("layers", [1, 3])
def test_training_form_answers_and_learns_as_the_inference_form_and_shares_its_parameters(layers, pooling, encoder):
    spec = replace(SPEC, pooling=pooling, encoder=encoder, num_layers=layers)
    rng = np.random.default_rng(1)
    rows, lengths = rng.integers(0, VOCABULARY, (5, 9)), np.array([9, 1, 4, 9, 2], np.int32)
    executor, found, names = paddle.static.Executor(), [], []
    with paddle.static.scope_guard(paddle.static.Scope()):
        for training in (False, True):
            program, startup = paddle.static.Program(), paddle.static.Program()
            with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
                feeds = paddle.static.data("rows", [-1, -1], "int64"), paddle.static.data("lengths", [-1], "int32")
                network = StudentNetwork(spec, VOCABULARY, training=training)
                output = network(*feeds)
                gradients = dict((parameter.name, gradient) for parameter, gradient in
                                 paddle.static.append_backward(paddle.sum(output * output)))
            names.append(network.weight_names())
            if not training:
                executor.run(startup)
            found.append(executor.run(program, feed={"rows": rows, "lengths": lengths},
                                      fetch_list=[output, *(gradients[name] for name in names[0].values())]))
    assert names[0] == names[1]
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-6)
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("changes, dropout, operators", [
    ({}, 0.0, 4), ({}, 0.2, 1), ({"num_layers": 1}, 0.2, 2), ({"pooling": "attention"}, 0.0, 1)])
def test_directions_train_side_by_side_unless_dropout_or_pooling_needs_one_operator(changes, dropout, operators):
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        network = StudentNetwork(replace(SPEC, **{"num_layers": 2, **changes}), VOCABULARY, dropout, training=True)
        network(paddle.static.data("rows", [-1, -1], "int64"), paddle.static.data("lengths", [-1], "int32"))
    assert [operator.type for operator in program.global_block().ops].count("rnn") == operators


def test_training_reads_the_padding_of_a_sentence_without_tokens_as_the_exported_student_does():
    rows, program, startup = np.array([[0, 5, 5], [7, 8, 9]]), paddle.static.Program(), paddle.static.Program()
    with paddle.static.scope_guard(paddle.static.Scope()), paddle.static.program_guard(program, startup):
        feeds = paddle.static.data("rows", [-1, -1], "int64"), paddle.static.data("lengths", [-1], "int32")
        logits, executor = StudentNetwork(SPEC, VOCABULARY, training=True)(*feeds), paddle.static.Executor()
        executor.run(startup)
        empty, padding = (executor.run(program, feed={"rows": rows, "lengths": np.array(lengths, np.int32)},
                                       fetch_list=[logits])[0] for lengths in ([0, 3], [1, 3]))
    np.testing.assert_array_equal(empty[1], padding[1])
    np.testing.assert_allclose(empty[0], padding[0], atol=1e-6)


def test_dropout_keeps_its_share_and_the_same_units_for_the_same_seed():
    first, again = (kept_units((2, 50, 40, 30), 0.2, np.random.default_rng(3)) for _ in range(2))
    assert (first == again).all() and set(np.unique(first)) == {0, 1}
    assert abs(first.mean() - 0.8) < 0.006


@pytest.mark.parametrize("kind", [{}, {"encoder": "bigru"}, {"pooling": "attention"}])
def test_student_learns_the_teachers_logits(kind):
    data, spec = token_sum_task(), replace(SPEC, **kind)
    student = train_student(spec, weights_for(spec), data, plan(200), logit_mse, adam, accuracy(data))
    assert student.metric > 0.9
    assert student.metric == max(metric for _, metric, _ in student.evaluations)


@pytest.mark.parametrize("metric", ["f1", "macro_f1", "matthews"])
def test_the_metric_that_is_named_chooses_the_best_student(metric):
    """The evaluation measures what scikit-learn calls by that name, on what the student answers."""
    from paddleslim_bilstm.student.train import metric_on
    data = token_sum_task(seed=3)
    labels = np.where(np.arange(400) < 40, data.labels, 0)  # few ones

    def executor_run(program, feed, fetch_list):
        ids = feed["input_ids"]
        return [np.stack([np.zeros(len(ids)), ((ids % 7 == 0) & (ids > 0)).sum(1) - 0.5], axis=1)]

    measured = metric_on(data.sentences, labels, TOKENIZER.framing, metric)(
        SimpleNamespace(run=executor_run), None, ["input_ids", "token_type_ids"], [])
    answers = np.array([((ids % 7 == 0).sum() > 0) for ids in data.sentences]).astype(int)
    sklearn = pytest.importorskip("sklearn.metrics")
    expected = {"f1": sklearn.f1_score, "matthews": sklearn.matthews_corrcoef,
                "macro_f1": lambda *both: sklearn.f1_score(*both, average="macro")}[metric](labels, answers)
    assert measured == pytest.approx(expected)


def test_student_learns_from_labels_alone_and_ignores_the_unlabelled():
    data = token_sum_task()
    labels = data.labels.copy()
    labels[::2] = NO_LABEL
    student = train_student(SPEC, weights_for(), TrainingSet(data.sentences, None, labels), plan(200), None, adam,
                            accuracy(data))
    assert student.metric > 0.85


def test_alpha_mixes_hard_labels_with_the_teachers_logits():
    data = token_sum_task()
    wrong = TrainingSet(data.sentences, data.logits, 1 - data.labels)
    by_teacher = train_student(SPEC, weights_for(), wrong, plan(200, alpha=0.05), logit_mse, adam, accuracy(data))
    by_labels = train_student(SPEC, weights_for(), wrong, plan(200, alpha=1.0), logit_mse, adam, None)
    assert by_teacher.metric > 0.85
    check = train_student(SPEC, by_labels.weights, wrong, plan(1, eval_iter=1), logit_mse, adam, accuracy(data))
    assert check.metric < 0.3


def test_same_seed_gives_the_same_student():
    data = token_sum_task()
    one, two = (train_student(SPEC, weights_for(), data, plan(60), logit_mse, adam, accuracy(data)) for _ in range(2))
    for name in one.weights:
        np.testing.assert_array_equal(one.weights[name], two.weights[name])
    other = train_student(SPEC, weights_for(), data, plan(60, seed=6), logit_mse, adam, accuracy(data))
    assert (one.weights["embedding"] != other.weights["embedding"]).any()


@pytest.mark.parametrize("changes", [{}, {"pooling": "attention"}, {"num_layers": 2}])
def test_a_batch_of_texts_without_a_token_is_trained_on_as_it_is_served(changes):
    """Such as a zero-width space by itself, which is text and no token; sorted by length, they make a batch."""
    spec = replace(SPEC, **changes)
    sentences = Sentences.from_lists([[]] * 8 + [[5, 6]] * 8)
    data = TrainingSet(sentences, np.tile(np.float32([0.5, -0.5]), (16, 1)), np.zeros(16, np.int64))
    student = train_student(spec, weights_for(spec), data, plan(200, batch_size=8, dropout=0.1), logit_mse, adam, None)
    assert all(np.isfinite(value).all() for value in student.weights.values())


def test_any_seed_of_the_schema_will_do():
    data = token_sum_task(64)
    student = train_student(SPEC, weights_for(), data, plan(2, seed=2**32 - 1, dropout=0.1), logit_mse, adam, None)
    assert student.step == 2


def base_for(weights, units=16, seed=4):
    """A base whose first columns are the embedding of ``weights``."""
    embedding = weights["embedding"]
    others = np.random.default_rng(seed).normal(0, 0.1, (len(embedding), units - embedding.shape[1]))
    return np.concatenate([embedding, others], axis=1).astype(np.float32)


def test_a_step_moves_the_projection_of_all_tokens_and_the_offsets_of_those_that_occur():
    """Against the gradient of the embedding itself, which a step of the plain network tells."""
    data, weights = token_sum_task(), weights_for()
    short = TrainingSet(data.sentences.take(np.arange(32)), data.logits[:32], None)
    base, rate = base_for(weights), 0.5

    def trained(base):
        return train_student(SPEC, weights, short, plan(1, eval_iter=1), logit_mse,
                             lambda steps: (paddle.optimizer.SGD(rate), None), None, base=base).weights

    plain, projected = trained(None), trained(base)
    gradient = (weights["embedding"] - plain["embedding"]) / rate
    expected = weights["embedding"] - rate * (base @ (base.T @ gradient) + 0.3 * gradient)
    np.testing.assert_allclose(projected["embedding"], expected, atol=1e-5)
    unseen = np.abs(gradient).sum(axis=1) == 0
    assert unseen.any() and (projected["embedding"] != weights["embedding"])[unseen].any()
    for name in set(plain) - {"embedding"}:
        np.testing.assert_allclose(projected[name], plain[name], atol=1e-6)


def test_only_tokens_that_occur_have_offsets():
    data, weights = token_sum_task(), weights_for()
    few = data.sentences.take(np.arange(3))
    rare = int(weights["token_map"][few.tokens].max()) + 1
    assert rare < VOCABULARY
    with paddle.static.scope_guard(paddle.static.Scope()):
        program = TrainingProgram(SPEC, weights, plan(1), logit_mse, adam, base_for(weights), rare)
        shapes = {name: value.shape for name, value in program.state().items()}
    assert shapes["offsets"] == (rare, SPEC.embed_dim) and shapes["projection"] == (16, SPEC.embed_dim)
    assert not any(shape[:1] == (VOCABULARY,) for shape in shapes.values())


def test_what_fills_batches_up_may_have_any_row():
    """Token 0 pads them, and where it is an unseen one, or the unknown one that never occurs, its row is the last."""
    data, weights = token_sum_task(), weights_for()
    base, order = base_for(weights), np.roll(np.arange(VOCABULARY), -1)  # the token of each row: 1, 2, ..., 0
    turned = {**weights, "embedding": weights["embedding"][order],
              "token_map": np.argsort(order).astype(np.int32)}
    plain, other = (train_student(SPEC, first, data, plan(5), logit_mse, adam, None, base=table)
                    for first, table in ((weights, base), (turned, base[order])))
    assert turned["token_map"][0] == VOCABULARY - 1 > turned["token_map"][data.sentences.tokens].max()
    np.testing.assert_allclose(other.weights["embedding"], plain.weights["embedding"][order], atol=1e-6)


def test_a_score_that_is_no_number_is_worse_than_any():
    data, scores = token_sum_task(), iter([np.nan, 0.6, 0.9, np.nan, 0.7])
    best = train_student(SPEC, weights_for(), data, plan(100), logit_mse, adam, lambda *_: next(scores))
    assert (best.step, best.metric) == (60, 0.9)


@pytest.mark.parametrize("projected", [False, True])
def test_interrupted_training_ends_as_an_uninterrupted_one(projected, tmp_path, monkeypatch):
    data, bars = token_sum_task(), []
    base = base_for(weights_for()) if projected else None
    if projected:
        data = replace(data, hints=np.random.default_rng(0).integers(-64, 64, (len(data.logits), 4)).astype(np.int8))
    monkeypatch.setattr(train, "progress_bar", lambda *about: bars.append(progress_bar(*about)) or bars[-1])
    straight = train_student(SPEC, weights_for(), data, plan(100, hint_weight=1.0), logit_mse, adam, accuracy(data),
                             base=base)

    class Interrupted(Exception):
        pass

    calls = []

    def interrupting(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise Interrupted
        return accuracy(data)(*arguments)

    checkpoint = tmp_path / "run.safetensors"
    with pytest.raises(Interrupted):
        train_student(SPEC, weights_for(), data, plan(100, hint_weight=1.0), logit_mse, adam, interrupting, checkpoint,
                      base=base)
    resumed = train_student(SPEC, weights_for(), data, plan(100, hint_weight=1.0), logit_mse, adam, accuracy(data),
                            checkpoint, base=base)
    assert resumed.evaluations == straight.evaluations
    assert bars[-1].initial == 60 * 32  # the rate is that of the sentences trained on now
    for name in straight.weights:
        np.testing.assert_array_equal(resumed.weights[name], straight.weights[name])


@pytest.mark.parametrize("logging_iter, lines", [(None, []), (8, [8, 16, 24])])
def test_a_log_line_every_so_many_steps(logging_iter, lines, caplog):
    data = token_sum_task()
    with caplog.at_level(logging.INFO):
        train_student(SPEC, weights_for(), data, plan(25), logit_mse, adam, None, logging_iter=logging_iter)
    found = [record.getMessage().rpartition(" ") for record in caplog.records]
    assert [text for text, _, _ in found] == [f"train student: step {step} of 25, loss" for step in lines]
    assert all(0 < float(loss) < 5 for _, _, loss in found)


def test_a_function_of_a_script_decides_what_decays():
    """AdamW's, where PaddleSlim's scripts can have it: among the arguments of the optimizer."""
    asked, data = [], token_sum_task()
    trained = []
    for decays in (lambda name: asked.append(name), lambda name: True):
        builder = {"optimizer": {"type": "AdamW", "apply_decay_param_fun": decays}, "weight_decay": 0.5}
        config = load_config({"bert_to_bilstm": None, "TrainConfig": {"optimizer_builder": builder}})
        trained.append(train_student(SPEC, weights_for(), data, plan(20), logit_mse, make_optimizer_of(config.train),
                                     None).weights)
    assert {"embedding_0.w_0", "linear_0.w_0"} <= set(asked)
    assert np.abs(trained[0]["output.weight"]).sum() > np.abs(trained[1]["output.weight"]).sum()


def test_training_stops_at_the_target_metric():
    data = token_sum_task()
    student = train_student(SPEC, weights_for(), data, plan(400, target_metric=0.7), logit_mse, adam, accuracy(data))
    assert student.metric > 0.7
    assert student.evaluations[-1][0] < 400


def test_a_loss_that_is_not_finite_stops_with_step_rows_and_the_last_good_state(tmp_path):
    data = token_sum_task()
    batch = plan_batches(data.sentences.lengths, 32, np.random.default_rng([5, 0]))[6]
    data.logits[batch[0], 0] = np.nan
    data = TrainingSet(data.sentences, data.logits, None, lambda rows: f"train.tsv:{rows.tolist()}")
    checkpoint = tmp_path / "run.safetensors"
    with pytest.raises(UserError) as raised:
        train_student(SPEC, weights_for(), data, plan(100, eval_iter=2), logit_mse, adam, None, checkpoint)
    assert f"the training loss is nan at step 6 (batch from train.tsv:{batch.tolist()}): lower" in str(raised.value)
    assert f"the last good state, of step 6, is kept in {checkpoint}" in str(raised.value)


def test_weights_that_are_not_finite_are_never_kept(tmp_path):
    checkpoint = tmp_path / "run.safetensors"
    with pytest.raises(UserError, match="a weight is no longer a finite number at step 1"):
        train_student(SPEC, weights_for(), token_sum_task(), plan(100, eval_iter=1), logit_mse,
                      lambda steps: (paddle.optimizer.SGD(float("inf")), None), None, checkpoint)
    assert not checkpoint.exists()


def test_batches_hold_every_sentence_once_and_like_lengths():
    lengths = np.random.default_rng(0).integers(1, 30, 1000)
    batches = plan_batches(lengths, 64, np.random.default_rng(1))
    assert sorted(np.concatenate(batches)) == list(range(1000))
    assert max(np.ptp(lengths[batch]) for batch in batches) <= 3
    again = plan_batches(lengths, 64, np.random.default_rng(2))
    assert any((one[:5] != two[:5]).any() for one, two in zip(batches, again))


def test_vocabulary_is_cut_to_what_occurs():
    token_map = cut_vocabulary(TOKENIZER, Sentences.from_lists([[7, 9], [30]]))
    assert token_map[[1, 7, 9, 30]].tolist() == [0, 1, 2, 3]
    assert set(np.delete(token_map, [7, 9, 30])) == {0}  # everything else is [UNK]
    assert kept_tokens(token_map, TOKENIZER.unk_id).tolist() == [1, 7, 9, 30]


def test_unseen_tokens_stand_behind_those_that_occur(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(
        "[PAD] [UNK] [CLS] [SEP] [MASK] [unused1] the a film is ##s good".split()) + "\n", encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    token_map = cut_vocabulary(tokenizer, Sentences.from_lists([[4, 7, 11]]), unseen=3)
    assert token_map.tolist() == [0, 0, 0, 0, 1, 0, 4, 2, 5, 6, 0, 3]  # no row for marks that no text has
    assert kept_tokens(token_map, tokenizer.unk_id).tolist() == [1, 4, 7, 11, 6, 8, 9]


@pytest.mark.parametrize("embed_dim", [8, 16, 24])
def test_projected_embeddings_keep_what_they_can_of_the_teachers(embed_dim):
    rng = np.random.default_rng(0)
    teacher = (rng.normal(size=(500, 6)) @ rng.normal(size=(6, 16)) + 3).astype(np.float32)  # 6 directions of variance
    student = project_embeddings(teacher, embed_dim)
    assert student.shape == (500, embed_dim) and student.dtype == np.float32
    centred = teacher - teacher.mean(0)
    cosine = (centred @ centred.T) / (student @ student.T)
    assert np.nanstd(np.where(np.abs(student @ student.T) > 1e-3, cosine, np.nan)) < 0.05 * np.nanmean(cosine)
