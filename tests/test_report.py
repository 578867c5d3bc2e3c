"""Metrics, and the report as table, Markdown, JSON and picture."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from paddleslim_bilstm import metrics
from paddleslim_bilstm.report import machine as hardware
from paddleslim_bilstm.report import plot
from paddleslim_bilstm.report.measure import ALONE, DISTILLED, TEACHER, Latency, ModelRow
from paddleslim_bilstm.report.report import TABLE_WIDTH, compact, headline, text_table, times
from paddleslim_bilstm.report.write import write_report
from paddleslim_bilstm.task import CLASSIFICATION, REGRESSION

pytestmark = pytest.mark.usefixtures("in_old_programs")

RUNTIME = "Paddle Inference 2.6.2, 1 thread"


def _row(name, accuracy, size_bytes, p50, **changes):
    row = ModelRow(name, accuracy, f1=accuracy and accuracy + 0.004, agreement=0.95, parameters=size_bytes // 4,
                   size_bytes=size_bytes, flops=int(p50 * 5e7), flops_tokens=24, latency_ms=Latency(p50, 2.5 * p50),
                   sentences_per_s=3000 / p50, runtime=RUNTIME, file=f"steps/{name}/model")
    return replace(row, **changes)


ROWS = (_row(TEACHER, 0.892, 91_000_000, 14.4, agreement=1.0),
        _row(ALONE, 0.816, 20_400_000, 1.6),
        _row(DISTILLED, 0.86, 20_400_000, 1.58),
        _row("QuantPost", 0.858, 10_000_000, 0.2, file="model"))


def test_accuracy_and_agreement_are_shares_of_equal_classes():
    assert metrics.accuracy(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])) == 0.75
    assert CLASSIFICATION.likeness.of(np.array([1, 1]), np.array([1, 0]), 2) == 0.5


def test_accuracy_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        metrics.accuracy(np.array([], int), np.array([], int))


def test_f1_of_two_classes_is_that_of_class_one():
    labels, predictions = np.array([1, 1, 0, 0, 1]), np.array([1, 0, 0, 1, 1])
    assert metrics.f1(labels, predictions, num_classes=2) == pytest.approx(2 / 3)
    assert metrics.f1(np.zeros(3, int), np.zeros(3, int), num_classes=2) == 0.0


def test_f1_of_more_classes_is_the_mean_over_classes():
    labels, predictions = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])
    assert metrics.f1(labels, predictions, num_classes=3) == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_f1_and_matthews_are_those_of_scikit_learn(num_classes):
    sklearn = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(num_classes)
    for size in (1, 4, 200):
        labels, predictions = generator.integers(0, num_classes, (2, size))
        expected = {
            "accuracy": sklearn.accuracy_score(labels, predictions),
            "f1": sklearn.f1_score(labels, predictions, average="binary" if num_classes == 2 else "macro",
                                   zero_division=0),
            "macro_f1": sklearn.f1_score(labels, predictions, average="macro", zero_division=0),
            "matthews": sklearn.matthews_corrcoef(labels, predictions)}
        found = {metric.name: metric.of(labels, predictions, num_classes) for metric in CLASSIFICATION.metrics}
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("values", ["different", "with ties"])
def test_correlations_are_those_of_scipy(values):
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(2, 100)).astype(np.float32)
    other += one
    if values == "with ties":
        one, other = one.round(), other.round()
    assert REGRESSION.score("pearson", one, other, 1) == pytest.approx(stats.pearsonr(one, other)[0])
    assert REGRESSION.score("spearman", one, other, 1) == pytest.approx(stats.spearmanr(one, other)[0])
    assert REGRESSION.score("pearson", one, np.ones_like(one), 1) == REGRESSION.score("spearman", one, 0 * one, 1) == 0


def test_the_table_of_a_regression_shows_correlations():
    changes = {"accuracy": None, "f1": None, "agreement": None, "correlation": 0.987, "pearson": 0.881,
               "spearman": 0.872}
    rows = [replace(row, **changes) for row in ROWS]
    header, _, teacher, *_ = text_table(rows).splitlines()
    assert all(name in header for name in ("Pearson", "Spearman", "corr."))
    assert not any(name in header for name in ("acc", "F1", "agree"))
    assert teacher.split()[1:4] == ["0.881", "0.872", "0.987"]
    assert "keeps 100.0 % of the teacher's Pearson correlation (0.881 of 0.881)" in headline(rows, "pearson")


def test_matthews_is_zero_where_one_class_is_always_given():
    assert CLASSIFICATION.score("matthews", np.array([0, 1, 1]), np.array([1, 1, 1]), 2) == 0.0


@pytest.mark.parametrize("metric, num_classes, names", [
    ("accuracy", 2, ("accuracy", "f1")), ("matthews", 2, ("accuracy", "f1", "matthews")),
    ("macro_f1", 2, ("accuracy", "f1", "macro_f1")), ("macro_f1", 5, ("accuracy", "f1"))])
def test_accuracy_f1_and_the_runs_metric_are_shown(metric, num_classes, names):
    assert CLASSIFICATION.shown_metrics(metric, num_classes) == names


def test_the_headline_table_and_plot_show_the_runs_metric(tmp_path):
    rows = [replace(row, matthews=row.accuracy - 0.4) for row in ROWS]
    report = write_report(tmp_path, rows, {}, {"training": 1.0}, {}, {}, metric="matthews")
    assert "keeps 93.1 % of the teacher's Matthews correlation (0.458 of 0.492)" in report.headline
    assert "the same Bi-LSTM reaches 0.416." in report.headline
    assert "Matthews" in report.table and "0.458" in report.table
    assert "The best checkpoint is chosen by Matthews correlation" in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["metric"] == "matthews"


def test_the_headline_compares_the_last_model_with_the_teacher():
    said = headline(ROWS)
    for figure in ("96.2 % of the teacher's accuracy", "85.8 of 89.2 %", "72x faster", "9.1x smaller", "81.6 %"):
        assert figure in said


def test_the_headline_says_when_the_student_is_slower_or_larger():
    text = headline((_row(TEACHER, 0.9, 1_000_000, 1.0), _row(DISTILLED, 0.9, 2_000_000, 1.5)))
    assert "1.5x slower and 2.0x larger" in text


def test_without_labels_the_headline_shows_what_is_known():
    rows = tuple(replace(row, accuracy=None, f1=None) for row in ROWS)
    assert "reaches 95.0 % agreement with the teacher" in headline(rows)
    rows = tuple(replace(row, metric=0.8765) for row in rows)
    assert "reaches 0.8765 in your own evaluation" in headline(rows)


@pytest.mark.parametrize("number, text", [(22_713_986, "22.7 M"), (999_600, "1.00 M"), (812, "812"), (0.2534, "0.253"),
                                          (1_530_000_000, "1.53 G"), (0, "0")])
def test_numbers_are_shown_with_three_digits(number, text):
    assert compact(number) == text


def test_ratios_below_one_turn_around():
    assert times(72.3, "faster", "slower") == "72x faster"
    assert times(0.8, "faster", "slower") == "1.2x slower"


def test_the_table_is_aligned_and_fits_a_terminal():
    rows = ROWS + (_row("a step with a name that is far too long to be shown", 0.5, 512, 0.0123, metric=0.7312),)
    lines = text_table(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert max(map(len, lines)) <= TABLE_WIDTH
    right_edges = [lines[0].index(head) + len(head) for head in ("acc %", "params", "p50 ms")]
    assert all(line[edge - 1] not in " " and line[edge:edge + 1] in (" ", "") for line in lines for edge in right_edges)
    assert lines[2].split()[:4] == ["teacher", "89.2", "89.6", "-"]


def test_columns_that_nobody_fills_are_left_out():
    assert "metric" not in text_table(ROWS)
    assert "acc %" not in text_table([replace(row, accuracy=None, f1=None) for row in ROWS])


def _write(folder, rows=ROWS):
    return write_report(folder, rows, config={"Global": {"seed": 0}}, seconds={"labelling": 371.2, "training": 2950.0},
                        data_counts={"train": 67349, "dev": 872}, transfer_set={"made": 800000, "duplicates": 58495},
                        notes=["made for a test"])


def test_report_json_holds_every_model_with_the_promised_keys(tmp_path):
    _write(tmp_path)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert {"models", "config", "versions", "hardware", "seconds", "data", "transfer_set", "format"} <= set(report)
    assert [model["name"] for model in report["models"]] == [TEACHER, ALONE, DISTILLED, "QuantPost"]
    for model in report["models"]:
        assert {"name", "accuracy", "f1", "agreement", "parameters", "size_bytes", "flops", "latency_ms",
                "sentences_per_s", "file", "notes"} <= set(model)
        assert set(model["latency_ms"]) == {"p50", "p99"}
    assert report["models"][0]["accuracy"] == 0.892
    assert report["seconds"] == {"labelling": 371.2, "training": 2950.0}


def test_report_md_tells_result_times_method_and_use(tmp_path):
    report = _write(tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert report.headline in text
    assert "| QuantPost | 85.8 | 86.2 | 95.0 | 2.50 M | 10.0 MB | 10.0 M | 0.200 | 0.500 | 15.0 k |" in text
    assert "| training | 49 min 10 s | 89 % |" in text
    assert "| transfer set: made | 800,000 |" in text
    assert "made for a test" in text and RUNTIME in text
    assert "24 tokens" in text
    assert text.index("## Where the time went") < text.index("## How to load the model")


def test_the_shown_code_loads_the_model(tmp_path, monkeypatch):
    import paddle
    paddle.enable_static()
    program, startup = paddle.static.Program(), paddle.static.Program()
    executor = paddle.static.Executor(paddle.CPUPlace())
    with paddle.static.scope_guard(paddle.static.Scope()), paddle.static.program_guard(program, startup):
        feeds = [paddle.static.data(name, [None, None], "int64") for name in ("input_ids", "token_type_ids")]
        logits = paddle.nn.Linear(4, 2)(paddle.nn.Embedding(9, 4)(feeds[0] + feeds[1]).sum(1))
        executor.run(startup)
        paddle.static.save_inference_model(str(tmp_path / "model"), feeds, [logits], executor, program=program)
    _write(tmp_path)
    code = re.search(r"```python\n(.*?)```", (tmp_path / "report.md").read_text(encoding="utf-8"), re.S).group(1)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert names["logits"].shape == (1, 2)


def test_a_report_is_whole_even_without_labels_or_with_one_model(tmp_path):
    _write(tmp_path, [replace(row, accuracy=None, f1=None, agreement=None) for row in ROWS])
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    _write(tmp_path, ROWS[:1])
    assert not list(tmp_path.glob(".*"))


def test_the_labels_of_the_plot_do_not_cover_one_another(monkeypatch, tmp_path):
    rows = ROWS + tuple(_row(f"step {index} after QuantAware", 0.86 - 0.001 * index, 10_000_000, 1.5 + index / 20)
                        for index in range(4))
    boxes = []
    place_labels = plot.place_labels

    def remember(canvas, axes, *rest):
        place_labels(canvas, axes, *rest)
        boxes.extend(text.get_window_extent(canvas.get_renderer()) for text in axes.texts if text.get_text())

    monkeypatch.setattr(plot, "place_labels", remember)
    plot.save_plot(rows, tmp_path / "plot.png")
    assert len(boxes) == 8
    assert not any(one.overlaps(other) for index, one in enumerate(boxes) for other in boxes[:index])


def test_the_machine_is_described_without_failing():
    machine = hardware.hardware()
    assert machine["physical_cores"] >= 1 and machine["logical_cores"] >= machine["physical_cores"]
    assert machine["cpu"] and json.dumps(machine)
    assert f"{machine['physical_cores']} core" in hardware.describe(machine)


def test_a_machine_without_proc_and_sysconf_is_described_too(monkeypatch):
    monkeypatch.setattr(hardware, "_read", lambda path: "")
    monkeypatch.delattr(hardware.os, "sysconf", raising=False)
    machine = hardware.hardware()
    assert machine["memory_bytes"] is None and machine["instruction_sets"] == []
    assert hardware.describe(machine)


def test_versions_name_what_is_installed():
    found = hardware.versions()
    assert found["numpy"] == np.__version__
    assert any(name.startswith("paddlepaddle") for name in found)
