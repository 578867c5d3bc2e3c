"""What ``import paddleslim_bilstm`` does to PaddleSlim, in fresh interpreters and in both import orders."""

import subprocess
import sys
import textwrap

import numpy as np
import paddle
import pytest

from paddleslim_bilstm.host.versions import UnsupportedVersion, check_versions

CHECK = """
    assert "bert_to_bilstm" in strategy_config.SUPPORTED_CONFIG
    assert strategy_config.SUPPORTED_CONFIG.count("bert_to_bilstm") == 1
    found = config_helpers.extract_strategy_config({"bert_to_bilstm": {"alpha": 0.5}, "QuantPost": None})
    assert list(found) == ["bert_to_bilstm", "QuantPost"] and found["bert_to_bilstm"].section == {"alpha": 0.5}
    assert callable(paddleslim.dist.logit_mse)
    assert AutoCompression.__init__.knows_bert_to_bilstm
"""
IMPORTS = "import paddleslim; from paddleslim.auto_compression import AutoCompression, config_helpers, strategy_config"


def run_python(code):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("order", [
    f"import paddleslim_bilstm; {IMPORTS}",
    f"{IMPORTS}; import paddleslim_bilstm",
    f"import paddleslim_bilstm; {IMPORTS}; import importlib; importlib.reload(paddleslim_bilstm)",
])
def test_registration_works_in_every_import_order(order):
    run_python(order + textwrap.dedent(CHECK))


def test_importing_the_package_loads_neither_paddle_nor_paddleslim():
    run_python("""
        import sys
        import paddleslim_bilstm
        assert not {"paddle", "paddleslim", "paddlenlp"} & set(sys.modules)
    """)


def test_a_warning_says_what_is_lost_when_paddle_came_first():
    done = run_python("""
        import os
        for name in ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE", "FLAGS_paddle_num_threads", "FLAGS_enable_pir_api"):
            os.environ.pop(name, None)
        import paddle
        import paddleslim_bilstm
    """)
    assert "import paddleslim_bilstm first" in done.stderr


@pytest.mark.parametrize("installed", [{"paddleslim": "2.4.0"}, {"paddlepaddle": "3.0.0"},
                                       {"paddlepaddle-gpu": "2.5.2"}])
def test_other_versions_are_refused_in_one_line_that_says_which_work(installed):
    with pytest.raises(UnsupportedVersion, match="works with paddleslim 2.6.0 and paddlepaddle 2.6.x") as error:
        check_versions(installed)
    assert "\n" not in str(error.value)


def test_known_versions_and_none_are_accepted():
    check_versions({"paddleslim": "2.6.0", "paddlepaddle": "2.6.2"})
    check_versions({})


def test_logit_mse_works_in_paddleslims_dygraph_distillation():
    from paddleslim.dygraph.dist import Distill
    paddle.disable_static()
    try:
        student, teacher = paddle.nn.Linear(4, 3), paddle.nn.Linear(4, 3)
        config = [{"model_name_pairs": [["student_0", "teacher_0"]],
                   "layers": [{"layers_name": ["fc", "fc"], "loss_function": "logit_mse", "weight": 1.0}]}]
        distill = Distill(config, [paddle.nn.Sequential(("fc", student))], [paddle.nn.Sequential(("fc", teacher))],
                          convert_fn=False)  # else it replaces paddle.nn.functional in the whole process
        x = paddle.to_tensor(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
        loss, student_out, teacher_out = distill(x)
        expected = ((student(x) - teacher(x)) ** 2).mean()
        np.testing.assert_allclose(float(loss), float(expected), rtol=1e-5)
        loss.backward()
        assert student.weight.grad is not None
    finally:
        paddle.enable_static()


def test_a_loss_of_ones_own_works_in_paddleslims_static_and_dygraph_distillation():
    from paddleslim import dist
    from paddleslim.auto_compression import create_compressed_program
    from paddleslim.dygraph.dist.losses.basic_loss import BASIC_LOSS

    from paddleslim_bilstm import distillation_loss

    @distillation_loss("logit_cubed")
    def logit_cubed(student_logits, teacher_logits):
        return paddle.mean(paddle.abs(student_logits - teacher_logits) ** 3)

    rng = np.random.default_rng(0)
    student, teacher = (rng.normal(size=(5, 3)).astype(np.float32) for _ in range(2))
    expected = (np.abs(student - teacher) ** 3).mean()
    assert create_compressed_program.logit_cubed and dist.logit_cubed
    with paddle.static.program_guard(paddle.static.Program(), paddle.static.Program()):
        for name in ("student", "teacher"):
            paddle.static.data(name, [-1, 3], "float32")
        _, losses = create_compressed_program._parse_distill_loss(["teacher", "student"], "logit_cubed", 1.0)
        found, = paddle.static.Executor(paddle.CPUPlace()).run(
            feed={"student": student, "teacher": teacher}, fetch_list=[losses["logit_cubed"]])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    paddle.disable_static()
    try:
        loss = BASIC_LOSS.get("logit_cubed")()(paddle.to_tensor(student), paddle.to_tensor(teacher))
        np.testing.assert_allclose(float(loss), expected, rtol=1e-5)
    finally:
        paddle.enable_static()


def test_a_loss_is_not_called_like_something_of_paddleslims():
    from paddleslim_bilstm import UserError, distillation_loss
    for name in ("merge", "optimizer"):
        with pytest.raises(UserError, match=f"distillation loss {name}: .* choose another"):
            distillation_loss(name)(lambda student_logits, teacher_logits: student_logits)
    with pytest.raises(ValueError, match="taken"):
        distillation_loss("l2")
