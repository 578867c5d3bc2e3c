"""PaddleSlim's own strategies on a distilled student."""

import numpy as np
import paddle
import pytest

import paddleslim_bilstm  # noqa: F401
from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.export.paddle_model import export_paddle_model
from paddleslim_bilstm.student.evaluate import metric_of, metric_on
from paddleslim_bilstm.student.spec import StudentSpec
from paddleslim_bilstm.student.train import TrainingPlan, TrainingSet, train_student
from paddleslim_bilstm.student.weights import first_weights
from paddleslim_bilstm.tokens import Sentences, Tokenizer

SPEC = StudentSpec(16, 16, 1, ("neg", "pos"), pad_id=0, max_seq_length=32)


TOKENIZER = Tokenizer(None, [str(i) for i in range(40)], pad_id=0, unk_id=1, cls_id=2, sep_id=3, mask_id=None)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A small student that knows which tokens are above 20: its folder, its text, its evaluation, its accuracy."""
    paddle.enable_static()
    rng = np.random.default_rng(0)
    sentences = Sentences.from_lists([rng.integers(5, 40, rng.integers(1, 12)).tolist() for _ in range(600)])
    labels = np.array([np.mean(ids > 20) > 0.5 for ids in sentences], np.int64)
    weights = first_weights(SPEC, np.arange(40, dtype=np.int32), None, rng)
    evaluate = metric_on(sentences, labels, TOKENIZER.framing)
    plan = TrainingPlan(300, 32, 0.0, 0.0, 50, None, 0)
    trained = train_student(SPEC, weights, TrainingSet(sentences, None, labels), plan, None,
                            lambda steps: (paddle.optimizer.Adam(0.02), None), evaluate)
    folder = tmp_path_factory.mktemp("student")
    export_paddle_model(folder, SPEC, trained.weights)
    return folder, sentences, evaluate, trained.metric


def run(student, tmp_path, sections, **train):
    """Run a chain; return each step's metric and parameters by the step's name."""
    from paddleslim_bilstm.host.chain import chain_dataloader, run_chain
    from paddleslim_bilstm.host.strategies import chained_strategies
    folder, sentences, evaluate, _ = student
    settings = load_config({"bert_to_bilstm": None, "TrainConfig": {"learning_rate": 1e-2, **train}, **sections})
    steps = {}

    def on_step(name, model):
        steps[name] = metric_of(model / "model", evaluate), parameters(model / "model")

    loader = chain_dataloader(sentences, TOKENIZER.framing, SPEC, 32, np.random.default_rng(0))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    run_chain(folder, chained_strategies(settings.strategies), settings.train, loader, evaluate, tmp_path / "work",
              on_step)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not (tmp_path / "work").exists()
    return steps


def parameters(prefix):
    with paddle.static.scope_guard(paddle.static.Scope()):
        program, _, _ = paddle.static.load_inference_model(str(prefix), paddle.static.Executor(paddle.CPUPlace()))
        return {variable.name: np.array(paddle.static.global_scope().find_var(variable.name).get_tensor())
                for variable in program.list_vars()
                if variable.persistable and variable.name not in ("feed", "fetch")}


def sparsity(values):
    matrices = [value for value in values.values() if value.ndim == 2 and value.dtype == np.float32]
    return sum((value == 0).sum() for value in matrices) / sum(value.size for value in matrices)


@pytest.mark.parametrize("algo", ["hist", "KL", "abs_max", "mse"])
def test_quant_post(student, tmp_path, algo):
    steps = run(student, tmp_path, {"QuantPost": {"batch_nums": 5, "algo": algo}})
    assert list(steps) == ["QuantPost"]
    assert steps["QuantPost"][0] > student[3] - 0.02
    assert any(value.dtype == np.int8 for value in steps["QuantPost"][1].values())


def test_quant_aware_teaches_itself_without_a_distillation_section(student, tmp_path):
    steps = run(student, tmp_path, {"QuantAware": None}, epochs=20)
    assert list(steps) == ["QuantAware"]
    assert steps["QuantAware"][0] > student[3] - 0.02


def test_unstructured_pruning_then_quantization_keeps_the_zeros(student, tmp_path):
    steps = run(student, tmp_path, {"UnstructurePrune": {"ratio": 0.5}, "Distillation": {"loss": "logit_mse"},
                                    "QuantPost": {"batch_nums": 5}}, epochs=30, eval_iter=10)
    assert list(steps) == ["UnstructurePrune", "QuantPost"]
    metric, pruned = steps["UnstructurePrune"]
    assert metric > student[3] - 0.03
    assert sparsity(pruned) == pytest.approx(0.5, abs=0.03)
    _, quantized = steps["QuantPost"]
    for name, value in pruned.items():
        if value.ndim == 2 and name in quantized:
            assert not quantized[name][value == 0].any()


def test_gradual_pruning_reaches_its_ratio(student, tmp_path):
    steps = run(student, tmp_path, {"UnstructurePrune": {
        "prune_strategy": "gmp", "ratio": 0.6, "local_sparsity": True, "gmp_config": {
            "stable_iterations": 0, "pruning_iterations": 44, "tunning_iterations": 30, "resume_iteration": -1,
            "pruning_steps": 4, "initial_ratio": 0.15}}}, epochs=40, eval_iter=5)
    metric, pruned = steps["UnstructurePrune"]
    assert metric > student[3] - 0.05
    assert sparsity(pruned) == pytest.approx(0.6, abs=0.05)


def test_asp_pruning_leaves_two_of_four(student, tmp_path):
    steps = run(student, tmp_path, {"ASPPrune": None}, epochs=20, eval_iter=10)
    metric, pruned = steps["ASPPrune"]
    assert metric > student[3] - 0.03
    weight = pruned["linear_0.w_0"]
    assert (np.count_nonzero(weight.T.reshape(-1, 4), axis=1) <= 2).all()


def test_unknown_key_of_a_strategy_is_refused():
    from paddleslim_bilstm.host.strategies import chained_strategies
    with pytest.raises(UserError, match=r"QuantPost.alog: no such key \(did you mean 'algo'\?\)"):
        chained_strategies({"QuantPost": {"alog": "KL"}})


def test_calibration_that_paddleslim_cant_do_on_a_bilstm_is_refused():
    from paddleslim_bilstm.host.strategies import chained_strategies
    with pytest.raises(UserError, match="QuantPost.algo: 'avg'"):
        chained_strategies({"QuantPost": {"algo": "avg"}})


def test_pruning_that_would_prune_nothing_is_refused():
    from paddleslim_bilstm.host.strategies import chained_strategies
    with pytest.raises(UserError, match="conv1x1_only"):
        chained_strategies({"UnstructurePrune": {"prune_params_type": "conv1x1_only"}})
