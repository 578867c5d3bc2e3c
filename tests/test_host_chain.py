"""PaddleSlim's own strategies on a distilled student."""

import random
import re
import shutil
from dataclasses import replace

import numpy as np
import paddle
import pytest

import paddleslim_bilstm  # noqa: F401
from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.export.inference_file import forget_call_stacks, put_in_order
from paddleslim_bilstm.export.int8 import put_int8_embedding, round_layers
from paddleslim_bilstm.export.paddle_model import export_paddle_model, read_paddle_model, student_logits
from paddleslim_bilstm.host import rehearsal
from paddleslim_bilstm.host.optimizer import check_optimizer, make_optimizer_of
from paddleslim_bilstm.host.rehearsal import check_strategies
from paddleslim_bilstm.host.step_settings import _tenth_of_rate
from paddleslim_bilstm.pipeline import prepare
from paddleslim_bilstm.predict.runtimes import paddle_logits
from paddleslim_bilstm.student.spec import StudentSpec
from paddleslim_bilstm.student.train import TrainingPlan, TrainingSet, metric_of, metric_on, train_student
from paddleslim_bilstm.student.weights import first_weights
from paddleslim_bilstm.tokens import Sentences, Tokenizer

pytestmark = pytest.mark.usefixtures("in_old_programs")

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


def run(student, tmp_path, sections, loader=None, **train):
    """Run a chain; return each step's metric and parameters by the step's name, and keep its model by that name."""
    from paddleslim_bilstm.host.chain import chain_dataloader, run_chain
    from paddleslim_bilstm.host.strategies import chained_strategies
    folder, sentences, evaluate, _ = student
    settings = load_config({"bert_to_bilstm": None, "TrainConfig": {"learning_rate": 1e-2, **train}, **sections})
    steps = {}

    def on_step(name, model):
        steps[name] = metric_of(model / "model", evaluate), parameters(model / "model")
        shutil.copytree(model, tmp_path / name)

    if loader is None:
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


@pytest.mark.parametrize("epochs, config", [(40, {"pruning_iterations": 4500, "tunning_iterations": 4500,
                                                  "pruning_steps": 100}), (30, None), (10, None)])
def test_gradual_pruning_reaches_its_ratio_in_the_batches_there_are(student, tmp_path, caplog, epochs, config):
    """Of 19 batches an epoch and a tenth of the epochs: 76, 57, and 19, in which only the last ones can prune."""
    config = config and {"stable_iterations": 0, "resume_iteration": -1, "initial_ratio": 0.15, **config}
    section = {"prune_strategy": "gmp", "ratio": 0.75, **({"gmp_config": config} if config else {})}
    steps = run(student, tmp_path, {"UnstructurePrune": section}, epochs=epochs, eval_iter=5)
    assert sparsity(steps["UnstructurePrune"][1]) == pytest.approx(0.75, abs=0.03)
    assert ("gmp_config is of 9000 batches, and its step trains on 76 only; pruning_iterations: 34; "
            in caplog.text) == bool(config)


def test_gradual_pruning_that_has_no_time_prunes_at_once(student, tmp_path, caplog):
    section = {"prune_strategy": "gmp", "ratio": 0.75, "gmp_config": {
        "stable_iterations": 0, "pruning_iterations": 20, "tunning_iterations": 0, "resume_iteration": -1,
        "pruning_steps": 1, "initial_ratio": 0.15}}
    steps = run(student, tmp_path, {"UnstructurePrune": section}, train_iter=50)
    assert sparsity(steps["UnstructurePrune"][1]) == pytest.approx(0.75, abs=0.03)
    assert "gmp_config is of 20 batches, and its step trains on 5 only; it prunes at once" in caplog.text


@pytest.mark.parametrize("sections", [{"UnstructurePrune": {"ratio": 0.5}, "QuantAware": None},
                                      {"ASPPrune": None, "QuantAware": None},
                                      {"ASPPrune": None, "UnstructurePrune": {"ratio": 0.2}}])
def test_what_trains_behind_pruning_leaves_the_zeros(student, tmp_path, sections):
    steps = run(student, tmp_path, sections, epochs=20, eval_iter=10)
    (first, (_, pruned)), (_, (metric, after)) = steps.items()
    assert metric > student[3] - 0.05
    zeros = {name: value == 0 for name, value in pruned.items()
             if value.ndim == 2 and (first == "UnstructurePrune" or name.startswith("linear"))}
    assert np.concatenate([zero.ravel() for zero in zeros.values()]).mean() == pytest.approx(0.5, abs=0.05)
    for name, zero in zeros.items():
        assert not after[name][zero].any()


def test_asp_pruning_leaves_two_of_four(student, tmp_path):
    steps = run(student, tmp_path, {"ASPPrune": None}, epochs=20, eval_iter=10)
    metric, pruned = steps["ASPPrune"]
    assert metric > student[3] - 0.03
    weight = pruned["linear_0.w_0"]
    assert (np.count_nonzero(weight.T.reshape(-1, 4), axis=1) <= 2).all()


def test_the_teachers_metric_is_not_held_against_the_student(student, tmp_path):
    assert list(run(student, tmp_path, {"QuantAware": None}, origin_metric=0.5)) == ["QuantAware"]


def test_a_schedule_without_its_length_gets_the_steps(student, tmp_path):
    rate = {"type": "CosineAnnealingDecay", "learning_rate": 0.01}
    assert list(run(student, tmp_path, {"Distillation": None}, learning_rate=rate)) == ["Distillation"]


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_of_any_number_of_bits_are_read_back(student, tmp_path, bits):
    run(student, tmp_path, {"QuantAware": {"weight_bits": bits}}, epochs=10)
    batch = TOKENIZER.framing.batch(student[1], np.arange(50))
    found = paddle_logits(tmp_path / "QuantAware" / "model")(*batch)
    expected = student_logits(SPEC, read_paddle_model(tmp_path / "QuantAware" / "model", SPEC), *batch)
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()  # activations are rounded in one of them


@pytest.mark.parametrize("sections", [{"QuantPost": {"batch_nums": 5}}, {"QuantAware": None}])
@pytest.mark.parametrize("form", ["generator of dicts", "list of tuples"])
def test_batches_of_any_form_feed_each_strategy(student, tmp_path, sections, form):
    from paddleslim_bilstm.host.chain import converted_loader
    framed = [TOKENIZER.framing.batch(student[1], np.arange(start, start + 32)) for start in range(0, 160, 32)]

    def batches():
        for ids, types in framed:
            yield {"labels": np.zeros(32), "token_type_ids": types, "input_ids": ids}

    loader = batches if form == "generator of dicts" else [(*batch, np.zeros(32)) for batch in framed]
    steps = run(student, tmp_path, sections, converted_loader(loader, SPEC))
    assert steps[[*sections][0]][0] > student[3] - 0.05


@pytest.mark.parametrize("sections", [{"QuantPost": {"batch_nums": 5}}, {"QuantAware": None}])
def test_paddleslim_is_fed_from_a_loader_of_tensors(student, tmp_path, sections):
    from paddleslim_bilstm.host.chain import check_loader, converted_loader

    def collated(rows):
        return dict(zip(("input_ids", "token_type_ids"), map(paddle.to_tensor, TOKENIZER.framing.batch(
            student[1], np.array(rows)))))

    paddle.disable_static()
    loader = paddle.io.DataLoader(list(range(len(student[1]))), batch_size=32, shuffle=True, collate_fn=collated)
    paddle.enable_static()
    check_loader(loader, SPEC.feeds)
    steps = run(student, tmp_path, sections, converted_loader(loader, SPEC))
    assert steps[[*sections][0]][0] > student[3] - 0.05


@pytest.mark.parametrize("sections", [{"QuantPost": {"batch_nums": 5}}, {"QuantAware": None}])
@pytest.mark.parametrize("lasts", [0, 2])
def test_a_loader_that_fails_ends_the_run_with_its_reason(student, tmp_path, sections, lasts):
    """PaddleSlim alone waits for ever."""
    from paddleslim_bilstm.host.chain import converted_loader

    def batches():
        for number in range(5):
            if number == lasts:
                raise ValueError("row 7 is odd")
            yield dict(zip(("input_ids", "token_type_ids"), TOKENIZER.framing.batch(student[1], np.arange(32))))

    with pytest.raises(UserError, match=r"^train_dataloader: fails \(row 7 is odd\); .* kept: mend it") as caught:
        run(student, tmp_path, sections, converted_loader(batches, SPEC))
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_loader_without_a_feed_is_refused_before_any_work(student):
    from paddleslim_bilstm.host.chain import check_loader
    batch = dict(zip(("input_ids", "token_type_ids"), TOKENIZER.framing.batch(student[1], np.arange(32))))
    check_loader([batch], SPEC.feeds)
    with pytest.raises(UserError, match="^train_dataloader: a batch has input_ids, but no token_type_ids, which"):
        check_loader([{"input_ids": batch["input_ids"]}], SPEC.feeds)


def test_a_loader_that_paddleslim_takes_is_left_as_it_is(student):
    from paddleslim_bilstm.host.chain import chain_dataloader, converted_loader
    loader = chain_dataloader(student[1], TOKENIZER.framing, SPEC, 32, np.random.default_rng(0))
    assert converted_loader(loader, SPEC) is loader


@pytest.mark.parametrize("strategy", ["QuantPost", "QuantAware"])
def test_an_int8_embedding_leaves_the_layers_that_paddleslim_quantized(student, tmp_path, strategy):
    run(student, tmp_path, {strategy: None}, epochs=10)
    weights = read_paddle_model(student[0] / "model", SPEC)
    (tmp_path / "both").mkdir()
    put_int8_embedding(tmp_path / strategy / "model", tmp_path / "both", SPEC,
                       round_layers(weights, SPEC, ["embedding"])["embedding"])
    before, after = parameters(tmp_path / strategy / "model"), parameters(tmp_path / "both" / "model")
    assert after["embedding_int8"].dtype == np.int8 and "embedding_0.w_0" not in after
    assert sorted(name for name in after if "embedding_" not in name) == \
        sorted(name for name in before if "embedding_" not in name)
    assert all(after[name].dtype == np.int8 for name in ("linear_0.w_0", "linear_1.w_0"))
    batch = TOKENIZER.framing.batch(student[1], np.arange(50))
    one, other = (paddle_logits(tmp_path / name / "model")(*batch) for name in (strategy, "both"))
    assert 0 < np.abs(one - other).max() < 0.1 * np.abs(one).max()


def test_a_step_that_fails_is_named_in_one_line(student, tmp_path):
    with pytest.raises(UserError, match=r"^QuantPost: failed in PaddleSlim \(The algo should be .*\); the trained "
                                        "students are kept"):
        run(student, tmp_path, {"QuantPost": {"algo": "magic"}})


WORKS = None
_LAST_NODE = f"linear_{1 if paddle.__version__ >= '3' else 3}.tmp_1"  # Paddle 2 counts layers, too
ONE_KEY = r"^{}: .* can't be used on a Bi-LSTM \({}.*\); take another value, or leave the key out$"


@pytest.mark.parametrize("sections, outcome", [
    ({"QuantPost": None}, WORKS), ({"QuantAware": None}, WORKS), ({"UnstructurePrune": None}, WORKS),
    ({"ASPPrune": None}, WORKS), ({"Distillation": None}, WORKS),
    ({"Distillation": {"alpha": 1}}, WORKS),
    ({"Distillation": {"loss": ["l2"], "node": [[_LAST_NODE]], "alpha": [1]}}, WORKS),
    ({"QuantPost": {"weight_bits": 4, "activation_bits": 4}}, WORKS),
    ({"UnstructurePrune": {"prune_strategy": "gmp"}}, WORKS),
    ({"QuantPost": None, "QuantAware": None}, "^QuantPost: quantizes the layers that QuantAware has quantized"),
    ({"Distillation": {"loss": "fsp"}}, "Distillation.loss: no loss is called 'fsp'"),
    ({"Distillation": {"alpha": 0}}, "^Distillation.alpha: 0 is no weight of the loss"),
    ({"Distillation": {"alpha": "half"}}, "^Distillation.alpha: 'half' is no weight of the loss"),
    ({"Distillation": {"alpha": [1.0]}}, ONE_KEY.format("Distillation.alpha", "AssertionError in")),
    ({"Distillation": {"node": ["nowhere"]}}, ONE_KEY.format("Distillation.node", "distill_node_pair config wrong")),
    ({"Distillation": {"teacher_model_dir": "/nowhere"}},
     ONE_KEY.format("Distillation.teacher_model_dir", r"\[Errno 2\] No such file")),
    ({"QuantPost": {"algo": "magic"}}, ONE_KEY.format("QuantPost.algo", "The algo should be KL, hist")),
    ({"QuantPost": {"weight_bits": 4}}, ONE_KEY.format("QuantPost.weight_bits", "activation_bits and weight_bits")),
    ({"QuantAware": {"onnx_format": False}}, ONE_KEY.format("QuantAware.onnx_format", "its weights can't be read")),
    ({"UnstructurePrune": {"prune_strategy": "magic"}},
     ONE_KEY.format("UnstructurePrune.prune_strategy", "UnboundLocalError")),
    ({"QuantPost": {"skip_tensor_list": ["linear_0.w_0"]}}, "^QuantPost.skip_tensor_list: is read by the reconstruct"),
    ({"ASPPrune": {"prune_params_name": ["linear_0.w_0"]}}, "^ASPPrune.prune_params_name: .* prunes all linear layers"),
    *(({"UnstructurePrune": {"ratio": ratio, **more}},
       f"^UnstructurePrune.ratio: {ratio!r}; give a share of the weights, above 0 and below 1$")
      for ratio, more in [(1.5, {}), (1, {}), (0, {}), (-1, {}), ("0.5", {}), (True, {}), (float("nan"), {}),
                          (1.5, {"prune_strategy": "gmp"})]),
    ({"UnstructurePrune": {"ratio": 1.5, "prune_mode": "threshold", "threshold": 0.1}}, WORKS),  # it isn't read
    ({"UnstructurePrune": None, "TrainConfig": {"sparse_model": True}},
     "TrainConfig.sparse_model: .*1x1 convolutions"),
    ({"QuantAware": None, "TrainConfig": {"amp_config": {}}}, "^config: TrainConfig.amp_config: .* float32"),
], ids=str)
def test_what_each_configuration_comes_to_before_any_work(tmp_path, sections, outcome):
    config = {"Global": {"model_dir": "none", "save_dir": str(tmp_path)}, "bert_to_bilstm": None, **sections}
    if outcome is WORKS:
        prepare(config)
        return
    with pytest.raises(UserError, match=outcome) as error:
        prepare(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [{"text_column": ["first", "second"]}, {"task": "regression"}])
def test_each_kind_of_student_can_be_pruned_and_quantized(tmp_path, kind):
    config = {"Global": {"model_dir": "none", "save_dir": str(tmp_path), **kind}, "bert_to_bilstm": None}
    prepare({**config, "UnstructurePrune": None, "ASPPrune": None, "QuantAware": None})
    prepare({**config, "QuantPost": None, "bert_to_bilstm": {"student": {"num_layers": 2, "pooling": "last"}}})


def test_another_teacher_may_have_as_many_classes_as_the_student(tmp_path):
    def exported(classes):
        folder = tmp_path / f"of_{classes}"
        folder.mkdir()
        spec = replace(SPEC, label_names=tuple("abcdef"[:classes]))
        weights = first_weights(spec, np.arange(40, dtype=np.int32), None, np.random.default_rng(0))
        return {"Distillation": {"teacher_model_dir": str(export_paddle_model(folder, spec, weights).parent),
                                 "teacher_model_filename": "model.pdmodel",
                                 "teacher_params_filename": "model.pdiparams"}}, spec
    settings, spec = exported(3)
    settings = load_config({"bert_to_bilstm": None, **settings})
    check_strategies(settings)
    check_strategies(settings, spec)
    with pytest.raises(UserError, match="Distillation.teacher_model_dir: .* can't be used on a Bi-LSTM"):
        check_strategies(settings, exported(4)[1])


def test_the_reason_of_an_operators_error_is_not_the_stack_before_it():
    from paddleslim_bilstm.host.chain import reason_of
    error = ValueError("In user code:\n\n    File \"a.py\", line 3, in b\n      c()\n\n"
                       "    InvalidArgumentError: Input(index[-1)] has wrong value, it is [12]\n      [Hint: ...]\n")
    assert reason_of(error) == "InvalidArgumentError: Input(index[-1)] has wrong value, it is [12]"


def test_nodes_of_pairs_pass_where_the_text_is_not_known_yet(tmp_path):
    prepare({"Global": {"model_dir": "none", "save_dir": str(tmp_path)}, "bert_to_bilstm": None,
             "Distillation": {"node": ["concat_7.tmp_0"]}})  # what compares both sides


@pytest.mark.parametrize("labels, changes, again", [
    (("a", "b"), {}, 0), (("a", "b", "c"), {"max_seq_length": 64, "embed_dim": 3, "pad_id": 5}, 0),
    (("a", "b", "c"), {"pairs": True}, 1), (("score",), {}, 1)])
def test_a_student_of_a_kind_that_was_rehearsed_is_not_rehearsed_again(monkeypatch, labels, changes, again):
    settings = load_config({"bert_to_bilstm": {"student": {"pooling": "last"}}, "QuantPost": {"batch_nums": 7}})
    runs = []
    monkeypatch.setattr(rehearsal, "_passed", set())
    monkeypatch.setattr(rehearsal, "_failure", lambda *arguments: runs.append(arguments))
    check_strategies(settings)
    assert len(runs) == 1
    check_strategies(settings, replace(StudentSpec(300, 150, 1, labels, 0, 128, pooling="last"), **changes))
    assert len(runs) == 1 + again


def test_the_rehearsal_goes_unnoticed(student, tmp_path, capfd, caplog):
    settings = load_config({"bert_to_bilstm": None, "QuantAware": None, "UnstructurePrune": {"ratio": 0.3}})
    run(student, tmp_path, {"QuantAware": None}, epochs=10)
    capfd.readouterr()
    caplog.clear()
    before = process_state()
    check_strategies(settings)
    assert process_state() == before
    assert capfd.readouterr() == ("", "") and not caplog.records
    (tmp_path / "again").mkdir()
    run(student, tmp_path / "again", {"QuantAware": None}, epochs=10)
    for name in ("model.pdmodel", "model.pdiparams"):
        files = [folder / "QuantAware" / name for folder in (tmp_path, tmp_path / "again")]
        if name == "model.pdmodel":
            for file in files:
                forget_call_stacks(file)  # of a step that ended in `models.run_strategies`
                put_in_order(file)
        assert files[0].read_bytes() == files[1].read_bytes()


def process_state():
    return (random.getstate(), repr(np.random.get_state()), re.sub("0x[0-9a-f]+", "", str(paddle.get_rng_state()[0])),
            paddle.static.default_main_program().desc.serialize_to_string(), id(paddle.static.global_scope()),
            dict(paddle.base.unique_name.generator.ids))


@pytest.mark.parametrize("step", ["QuantPost", "QuantAware"])
def test_quantization_of_convolutions_alone_is_warned_of(monkeypatch, caplog, step):
    monkeypatch.setattr(rehearsal, "_passed", set())
    for types, warnings in ((["conv2d", "depthwise_conv2d"], 1), (["conv2d", "matmul_v2"], 1)):
        check_strategies(load_config({"bert_to_bilstm": None, step: {"quantize_op_types": types}}))
        assert sum(f"{step}: makes no weight of a Bi-LSTM int8" in message for message in caplog.messages) == warnings


@pytest.mark.parametrize("rate, warned", [
    (2e-5, True), ({"type": "LinearWarmup", "warmup_steps": 5, "start_lr": 0.0, "end_lr": 1e-6, "learning_rate": 1e-6},
                   True), ({"type": "PolynomialDecay", "learning_rate": 1e-3}, False), (None, False)])
def test_a_learning_rate_for_a_bert_is_warned_of(caplog, rate, warned):
    check_optimizer(load_config({"bert_to_bilstm": None, "TrainConfig": {"learning_rate": rate}}).train)
    assert ("is one for a BERT" in caplog.text) == warned


def test_all_rates_of_a_schedule_become_a_tenth():
    warm_up = {"type": "LinearWarmup", "learning_rate": 0.004, "warmup_steps": 500, "start_lr": 0.0, "end_lr": 0.004}
    assert _tenth_of_rate(warm_up) == {**warm_up, "learning_rate": 0.0004, "warmup_steps": 50, "end_lr": 0.0004}
    cyclic = {"type": "CyclicLR", "base_learning_rate": 0.1, "max_learning_rate": 0.5, "step_size_up": 3}
    assert _tenth_of_rate(cyclic) == {**cyclic, "base_learning_rate": 0.01, "max_learning_rate": 0.05}
    assert _tenth_of_rate({"type": "NoamDecay", "d_model": 4, "warmup_steps": 9})["learning_rate"] == 0.1
    decay = {"type": "PolynomialDecay", "learning_rate": 0.0005}
    assert _tenth_of_rate(decay) == {**decay, "learning_rate": 0.00005, "end_lr": 0.00001}
    assert _tenth_of_rate(None) == 0.0004 and _tenth_of_rate({"values": [1.0, 2]})["values"] == [0.1, 0.2]


def test_a_schedule_that_wants_a_metric_is_refused():
    train = load_config({"bert_to_bilstm": None, "TrainConfig": {
        "learning_rate": {"type": "ReduceOnPlateau", "learning_rate": 0.001}}}).train
    with pytest.raises(UserError, match="TrainConfig.learning_rate: ReduceOnPlateau can't follow"):
        check_optimizer(train)


@pytest.mark.parametrize("train, message", [
    ({"learning_rate": {"type": "NoamDecay", "d_model": 64, "warmup_steps": 0}}, "can't be used: 0.0 cannot be raised"),
    ({"learning_rate": {"type": "LRScheduler", "learning_rate": 0.001}}, "learning_rate"),
    ({"optimizer_builder": {"optimizer": {"type": "AdamW"}}}, "give weight_decay beside optimizer")])
def test_what_paddle_cant_build_is_told_before_any_work(train, message):
    with pytest.raises(UserError, match=message):
        check_optimizer(load_config({"bert_to_bilstm": None, "TrainConfig": train}).train)


def test_a_schedule_that_ends_before_the_training_is_refused():
    train = load_config({"bert_to_bilstm": None, "TrainConfig": {
        "learning_rate": {"type": "OneCycleLR", "max_learning_rate": 0.01, "total_steps": 50}}}).train
    check_optimizer(train)
    with pytest.raises(UserError, match=r"OneCycleLR ends after total_steps \(50\), and this training has 51"):
        make_optimizer_of(train)(51)


def test_unknown_key_of_a_strategy_is_refused():
    from paddleslim_bilstm.host.strategies import chained_strategies
    with pytest.raises(UserError, match=r"QuantPost.alog: no such key \(did you mean 'algo'\?\)"):
        chained_strategies({"QuantPost": {"alog": "KL"}})


def test_calibration_that_paddleslim_cant_do_on_a_bilstm_is_refused():
    from paddleslim_bilstm.host.strategies import chained_strategies
    with pytest.raises(UserError, match="QuantPost.algo: 'avg'"):
        chained_strategies({"QuantPost": {"algo": "avg"}})


@pytest.mark.parametrize("kind", ["conv1x1_only", "fc_only"])
def test_pruning_of_kinds_of_layers_that_a_bilstm_does_not_have_is_refused(kind):
    from paddleslim_bilstm.host.strategies import chained_strategies
    with pytest.raises(UserError, match=f"^UnstructurePrune.prune_params_type: '{kind}' is not for a Bi-LSTM"):
        chained_strategies({"UnstructurePrune": {"prune_params_type": kind}})
