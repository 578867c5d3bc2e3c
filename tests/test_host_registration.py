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


@pytest.mark.parametrize("pair", [["student_0", "teacher_0"], ["teacher_0", "student_0"]])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_logit_mse_works_in_paddleslims_dygraph_distillation(pair, reduction):
    from paddleslim.dygraph.dist import Distill
    paddle.disable_static()
    try:
        student, teacher = paddle.nn.Linear(4, 3), paddle.nn.Linear(4, 3)
        config = [{"model_name_pairs": [pair],
                   "layers": [{"layers_name": ["fc", "fc"], "loss_function": "logit_mse", "weight": 1.0,
                               "reduction": reduction}]}]
        distill = Distill(config, [paddle.nn.Sequential(("fc", student))], [paddle.nn.Sequential(("fc", teacher))],
                          convert_fn=False)  # else it replaces paddle.nn.functional in the whole process
        x = paddle.to_tensor(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
        loss, student_out, teacher_out = distill(x)
        expected = getattr((student(x) - teacher(x)) ** 2, reduction)()
        np.testing.assert_allclose(float(loss), float(expected), rtol=1e-5)
        loss.backward()
        gradient = student.weight.grad.numpy()
        student.clear_gradients()
        expected.backward()
        np.testing.assert_allclose(gradient, student.weight.grad.numpy(), rtol=1e-5)
        assert {id(one) for one in distill.parameters()} == {id(one) for one in student.parameters()}
    finally:
        paddle.enable_static()
