"""The curves of the trainings in VisualDL, read back from its logs."""

import logging
import sys

import pytest
import yaml
from conftest import Ended
from test_finetune import Killed, huggingface_bert, write_reviews
from test_student import SPEC, accuracy, adam, plan, token_sum_task, weights_for

from paddleslim_bilstm import cli, compress
from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.curves import curves
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.finetune import training
from paddleslim_bilstm.finetune.finetune import finetune
from paddleslim_bilstm.student.checkpoint import Progress
from paddleslim_bilstm.student.losses import logit_mse
from paddleslim_bilstm.student.train import train_student


def points(folder, training, tag):
    """Return the steps and the values of a curve, from the one log there is."""
    reader = pytest.importorskip("visualdl").LogReader
    file, = (folder / "visualdl" / training).iterdir()
    found = reader(file_path=str(file)).get_data("scalar", tag)
    return [one.id for one in found], pytest.approx([one.value for one in found], rel=1e-5)


def settings_for(folder):
    return load_config({"Global": {"save_dir": str(folder), "visualdl": True, "model_dir": "teacher",
                                   "train_file": "train.tsv", "dev_file": "dev.tsv"}, "bert_to_bilstm": {}})


def test_a_resumed_training_has_the_curves_of_one_that_was_never_killed(tmp_path, caplog, in_old_programs):
    import paddle
    paddle.enable_static()
    pytest.importorskip("visualdl")
    data, seen = token_sum_task(), []

    def run(name, evaluate, checkpoint=None):
        with curves(settings_for(tmp_path / name), "distilled") as show:
            return train_student(SPEC, weights_for(), data, plan(200), logit_mse, adam, evaluate, checkpoint, show=show)

    def killed_at_the_fourth(*arguments):
        seen.append(points(tmp_path / "killed", "distilled", "loss")[0])
        if len(seen) == 4:
            raise Killed
        return accuracy(data)(*arguments)

    with caplog.at_level(logging.INFO):
        straight = run("straight", accuracy(data))
    assert caplog.text.count(f"visualdl --logdir {tmp_path / 'straight' / 'visualdl'}") == 1
    with pytest.raises(Killed):
        run("killed", killed_at_the_fourth, tmp_path / "run.safetensors")
    assert [steps[-1] for steps in seen] == [20, 40, 60, 80]        # there while the training goes on
    run("killed", accuracy(data), tmp_path / "run.safetensors")     # from step 60 on
    for tag, steps in (("loss", list(range(2, 201, 2))), ("dev_metric", list(range(20, 201, 20)))):
        resumed, whole = (points(tmp_path / name, "distilled", tag) for name in ("killed", "straight"))
        assert resumed[0] == whole[0] == steps and resumed[1].expected == whole[1]
    steps, values = points(tmp_path / "killed", "distilled", "dev_metric")
    assert [metric for _, metric, _ in straight.evaluations] == values


def test_all_trainings_of_a_run_are_shown(tmp_path, monkeypatch, ends_before):
    pytest.importorskip("visualdl")
    told = []
    monkeypatch.setattr(logging.getLogger("paddleslim_bilstm.curves"), "info",
                        lambda line, *values: told.append(line % values))
    config = {"Global": {"model_dir": str(tmp_path / "teacher"), "cache_dir": str(tmp_path / "cache"),
                         "save_dir": str(tmp_path / "out"), "max_seq_length": 32, "visualdl": True,
                         "train_file": str(write_reviews(tmp_path / "train.tsv", 320, 1)),
                         "dev_file": str(write_reviews(tmp_path / "dev.tsv", 60, 2))},
              "Finetune": {"model": str(huggingface_bert(tmp_path / "pretrained")), "epochs": 2, "batch_size": 16},
              "bert_to_bilstm": {"student": {"embed_dim": 8, "hidden_size": 8}}, "DataAugmentation": {"n_iter": 0},
              "TrainConfig": {"train_iter": 6, "eval_iter": 3}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    for taken_from_cache in (False, True):
        if taken_from_cache:
            ends_before("export")
            with pytest.raises(Ended):
                cli.main(["compress", str(tmp_path / "run.yaml")])
        else:
            assert cli.main(["compress", str(tmp_path / "run.yaml")]) == 0
        assert points(tmp_path / "out", "finetune", "loss")[0] == list(range(1, 41))
        assert points(tmp_path / "out", "finetune", "dev_metric")[0] == [20, 40]
        for name in ("alone", "distilled"):
            assert points(tmp_path / "out", name, "dev_metric")[0][0] == 3
        assert points(tmp_path / "out", "distilled", "loss")[0] == [1, 2, 3, 4, 5, 6]
    assert len(told) == 1 and "visualdl --logdir" in told[0]


def test_a_killed_fine_tuning_shows_each_point_once(tmp_path, monkeypatch):
    pytest.importorskip("visualdl")
    config = {"Global": {"model_dir": str(tmp_path / "teacher"), "cache_dir": str(tmp_path / "cache"),
                         "save_dir": str(tmp_path), "max_seq_length": 32, "visualdl": True,
                         "train_file": str(write_reviews(tmp_path / "train.tsv", 64, 1)),
                         "dev_file": str(write_reviews(tmp_path / "dev.tsv", 20, 2))},
              "Finetune": {"model": str(huggingface_bert(tmp_path / "pretrained")), "epochs": 2, "batch_size": 16}}
    take_step = training._Run.step

    def step(run, train, batch, number):
        if number == 6:                                             # an epoch has 4 steps, then the state is kept
            raise Killed
        return take_step(run, train, batch, number)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training._Run, "step", step)
        finetune(config)
    assert points(tmp_path, "finetune", "loss")[0] == [1, 2, 3, 4, 5, 6]
    finetune(config)
    assert points(tmp_path, "finetune", "loss")[0] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert points(tmp_path, "finetune", "dev_metric")[0] == [4, 8]


def test_without_visualdl_a_run_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "visualdl", None)
    config = settings_for(tmp_path / "out").to_dict()
    for start in (compress, finetune):
        with pytest.raises(UserError, match="^Global.visualdl: .*install it with `pip install visualdl`"):
            start(config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rank, visualdl", [(1, True), (0, False)])
def test_other_ranks_and_other_runs_write_nothing(tmp_path, monkeypatch, rank, visualdl):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    monkeypatch.setenv("PADDLE_TRAINER_ID", str(rank))
    settings = settings_for(tmp_path)
    settings = settings.model_copy(update={"global_": settings.global_.model_copy(update={"visualdl": visualdl})})
    with curves(settings, "alone") as show:
        show(Progress(step=1, losses=[[1, 0.5]]))
    assert not list(tmp_path.iterdir())
