"""What ``import paddleslim_bilstm`` does to PaddleSlim, in fresh interpreters and in both import orders."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import paddle
import pytest

import paddleslim_bilstm
from paddleslim_bilstm.host.versions import UnsupportedVersion, check_other_paddle, check_versions

CHECK = """
    assert "bert_to_bilstm" in strategy_config.SUPPORTED_CONFIG
    assert strategy_config.SUPPORTED_CONFIG.count("bert_to_bilstm") == 1
    found = config_helpers.extract_strategy_config({"bert_to_bilstm": {"alpha": 0.5}, "QuantPost": None})
    assert list(found) == ["bert_to_bilstm", "QuantPost"] and found["bert_to_bilstm"].section == {"alpha": 0.5}
    assert callable(paddleslim.dist.logit_mse)
    assert AutoCompression.__init__.knows_bert_to_bilstm
"""
IMPORTS = "import paddleslim; from paddleslim.auto_compression import AutoCompression, config_helpers, strategy_config"


ROOT = str(Path(paddleslim_bilstm.__file__).parents[1])


def run_python(code, environment=None):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True,
                          env={**os.environ, **(environment or {})})
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


@pytest.fixture(scope="module", params=["paddleslim-2.4.0", "paddlepaddle-2.5.2"])
def other_version(request, tmp_path_factory):
    """The environment of a machine where another version is installed, as far as its metadata says."""
    folder = tmp_path_factory.mktemp(request.param)
    name, version = request.param.split("-")
    metadata = folder / f"{request.param}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), ROOT, os.environ.get("PYTHONPATH", "")])}


def test_the_light_parts_work_beside_other_versions(other_version):
    run_python("""
        import sys
        import paddleslim_bilstm
        from paddleslim_bilstm import Predictor, UserError, augmentation_hook
        from paddleslim_bilstm.cli import main
        try:
            main(["predict", "--help"])
        except SystemExit:
            pass
        assert main(["predict", "absent"]) == 2
        assert not {"paddle", "paddleslim"} & set(sys.modules)
    """, other_version)


def test_compress_is_refused_beside_other_versions_before_paddle_is_loaded(other_version, tmp_path):
    (tmp_path / "run.yaml").write_text("bert_to_bilstm: {}\nFinetune: {model: absent}\n")
    done = run_python(f"""
        import sys
        import paddleslim_bilstm
        from paddleslim_bilstm.cli import main
        from paddleslim_bilstm.host.versions import UnsupportedVersion
        try:
            paddleslim_bilstm.compress
        except UnsupportedVersion as error:
            assert "works with paddleslim 2.6.0" in str(error)
        else:
            raise AssertionError
        for command in ("compress", "finetune"):
            assert main([command, {str(tmp_path / "run.yaml")!r}]) == 2
        assert not {{"paddle", "paddleslim"}} & set(sys.modules)
    """, other_version)
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and all(line.startswith("error: ") and "works with paddleslim" in line for line in lines)


def test_without_pydantic_paddleslim_is_imported_and_our_sections_are_refused(tmp_path):
    done = run_python(f"""
        import sys
        sys.modules["pydantic"] = None
        import paddleslim_bilstm
        {IMPORTS}
        assert "bert_to_bilstm" not in strategy_config.SUPPORTED_CONFIG
        try:
            AutoCompression(model_dir={str(tmp_path)!r}, train_dataloader=None, config={{"bert_to_bilstm": None}},
                            save_dir={str(tmp_path)!r})
        except ImportError as error:
            assert str(error).startswith('bert_to_bilstm: pydantic is not installed: pip install "paddleslim-bilstm[')
        else:
            raise AssertionError
    """)
    assert done.stderr.count("are not registered") == 1


@pytest.mark.parametrize("package", ["pydantic", "onnx"])
def test_beside_a_broken_package_of_ours_paddleslim_is_imported(tmp_path, package):
    (tmp_path / f"{package}.py").write_text("raise TypeError('built for another protobuf')\n")
    done = run_python(f"""
        import paddleslim_bilstm
        {IMPORTS}
        assert "bert_to_bilstm" not in strategy_config.SUPPORTED_CONFIG
    """, {"PYTHONPATH": os.pathsep.join([str(tmp_path), ROOT])})
    assert "TypeError: built for another protobuf: pip install" in done.stderr


@pytest.mark.parametrize("other_version", ["paddleslim-2.4.0"], indirect=True)
def test_beside_other_versions_a_script_of_its_own_runs_and_our_sections_are_refused(other_version, tmp_path):
    done = run_python(f"""
        import paddleslim_bilstm
        {IMPORTS}
        assert "bert_to_bilstm" not in strategy_config.SUPPORTED_CONFIG
        def start(config):
            try:
                AutoCompression(model_dir={str(tmp_path)!r}, train_dataloader=None, config=config,
                                save_dir={str(tmp_path)!r})
            except Exception as error:
                return type(error).__name__, str(error)
        assert start(["QuantPost"])[0] != "UnsupportedVersion"
        for section in ("bert_to_bilstm", "DataAugmentation"):
            name, message = start({{"QuantPost": {{}}, section: None}})
            assert name == "UnsupportedVersion" and message.startswith(section) and "2.6.0" in message
    """, other_version)
    assert done.stderr.count("are not registered") == 1


@pytest.mark.parametrize("installed", [{"paddleslim": "2.4.0"}, {"paddlepaddle": "2.5.2"},
                                       {"paddlepaddle-gpu": "2.5.2"}])
def test_other_versions_are_refused_in_one_line_that_says_which_work(installed):
    with pytest.raises(UnsupportedVersion, match="works with paddleslim 2.6.0 and paddlepaddle 2.6 to 3.3") as error:
        check_versions(installed)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("paddle", ["2.6.2", "3.1.1", "3.3.1", "3.10.0"])
def test_known_versions_others_and_none_are_accepted(paddle):
    check_versions({"paddleslim": "2.6.0", "paddlepaddle": paddle})
    check_versions({})


def test_a_paddle_that_nobody_has_tried_is_tried_on_a_tiny_student(caplog, monkeypatch):
    from paddleslim_bilstm.host import self_check
    for tried in ("2.6.1", "3.1.0", "3.3.1"):
        check_other_paddle({"paddlepaddle": tried})
    assert not caplog.records
    for other in ("3.2.2", "3.10.0"):
        check_other_paddle({"paddlepaddle": other})
        assert f"{other} is none that paddleslim_bilstm was tried with (2.6, 3.1, 3.3)" in caplog.text
    monkeypatch.setattr(self_check, "export_paddle_model", lambda *_: 1 / 0)
    check_other_paddle({"paddlepaddle": "3.10.0"})  # has passed
    with pytest.raises(UnsupportedVersion, match=r"4.0.0 is installed, which can't train and export a student "
                                                 r"\(ZeroDivisionError: .*\), but paddleslim_bilstm works with"):
        check_other_paddle({"paddlepaddle-gpu": "4.0.0"})


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


@pytest.mark.usefixtures("in_old_programs")
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


def test_sigterm_ends_a_run_once_and_after_paddlenlp_has_put_the_systems_handler_back():
    run_python("""
        import os, signal
        import paddleslim_bilstm
        from paddleslim_bilstm.stopping import Terminated, end_on_sigterm
        import paddle
        end_on_sigterm()
        import paddlenlp
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            assert False, "nothing happened"
        except Terminated:
            os.kill(os.getpid(), signal.SIGTERM)  # while the first one is heeded
        end_on_sigterm()
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            assert False, "nothing happened the second time"
        except Terminated:
            pass
        signal.signal(signal.SIGTERM, signal.SIG_IGN)   # where nobody asked for it, it stays as it is
        from paddleslim_bilstm.host.imports import _FOLLOW
        _FOLLOW["paddlenlp"]("paddlenlp")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    """)
