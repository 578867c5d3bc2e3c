"""The benchmarks run from end to end; what they measure depends on the machine and is not looked at here."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import paddle
import pytest
from onnx_teachers import OnnxClassifier, put_onnx_teacher
from reviews import write_reviews
from student_reference import output_folder

from paddleslim_bilstm.export.paddle_model import export_paddle_model

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def task(tiny_teacher, tmp_path_factory):
    folder = write_reviews(tmp_path_factory.mktemp("task"), train=100, dev=20)
    (folder / "teacher").symlink_to(tiny_teacher("huggingface"))
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """``run(name, options...)`` returns what a benchmark prints; its children's work is done in this process."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def child(script, job, tuned, path=None):
        from processes import peak_mib
        paddle.disable_static()
        try:
            found = importlib.import_module(Path(script).stem).measure(json.loads(json.dumps(job)))
        finally:
            paddle.enable_static()
        return json.loads(json.dumps({**found, "peak_mib": peak_mib()}))

    def run_benchmark(name, *options):
        benchmark = importlib.import_module(name)
        monkeypatch.setattr(benchmark, "run_child", child)
        capsys.readouterr()
        benchmark.main([str(option) for option in options])
        return capsys.readouterr().out

    return run_benchmark


@pytest.mark.parametrize("tuned, switch", [(True, "1"), (False, "0")])
def test_children_have_our_cpu_settings_or_none(monkeypatch, tmp_path, tuned, switch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from processes import run_child
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    script = tmp_path / "child.py"
    script.write_text("import json, os, sys\nprint(json.dumps([json.loads(sys.argv[1]), dict(os.environ)]))")
    job, environment = run_child(script, {"some": "job"}, tuned)
    assert job == {"some": "job"} and environment["PADDLESLIM_BILSTM_CPU_SETTINGS"] == switch
    assert ("OMP_NUM_THREADS" in environment) == tuned and "7" not in environment.get("OMP_NUM_THREADS", "")
    assert "MKL_NUM_THREADS" not in environment


def test_compression_speed(run, task, tmp_path):
    out = tmp_path / "out.json"
    shown = run("compression_speed", "--teacher", task / "teacher", "--train", task / "train.tsv", "--dev",
                task / "dev.tsv", "--out", out, "--runs", "1", "--epochs", "2", "--n-iter", "3",
                "--batch-size", "8", "--slow-texts", "10", "--slow-batches", "4", "--label-sample", "200",
                "--fast-steps", "2", "--matrix-sizes", "1", "--accuracy", "--accuracy-texts", "20",
                "--accuracy-rounds", "1")
    found = json.loads(out.read_text())
    counts = found["counts"]
    assert counts["made"] == 400 and counts["distinct"] == counts["made"] - counts["duplicates"]
    assert found["runs"][0]["tutorial"]["made"] == 40 and found["runs"][0]["ours"]["made"] == 400
    assert [len(values) for values in found["accuracy"].values()] == [2, 2]
    assert f"{counts['distinct']:,} distinct" in shown and "| end to end, 2 epochs, hours |" in shown


def test_whole_runs_are_extrapolated_from_rates_and_counts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from compression_speed import summary
    run = {"tutorial": {"augment_s": 2, "made": 10, "batch_s": 1, "teacher_s": 6, "student_s": 5, "trained": 4,
                        "peak_mib": 1},
           "ours": {"augment_s": 3, "rounds_s": 1, "made": 30, "label_s": 1, "labelled": 2, "train_s": 3, "trained": 3,
                    "evaluate_s": 8, "steps_between_evaluations": 2, "batch_size": 4, "load_teacher_s": 7,
                    "label_fixed_s": 2, "flops": 5e9, "peak_mib": 1},
           "matrices": {"gflops": 20}}
    found = summary({"made": 100, "distinct": 50}, [run], epochs=6)
    assert found["tutorial total"] == pytest.approx(100 * 0.2 + 6 * 50 * (0.25 + 1.5 + 1.25))
    assert found["our total"] == pytest.approx(7 + 2 + 100 * 0.1 + 50 * (0.5 + 6 * (1 + 8 / 2 / 4)))
    assert (found["label gflops"], found["label share"]) == (pytest.approx(10), pytest.approx(0.5))


@pytest.mark.parametrize("model, layer", [("model.onnx", "LSTM"), ("model.int8.onnx", "DynamicQuantizeLSTM")])
def test_student_parts(monkeypatch, capsys, tmp_path, model, layer):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    output_folder(tmp_path, num_layers=2)
    importlib.import_module("student_parts").main([str(tmp_path / model), "--tokens", "5", "--runs", "200"])
    lines = [line.split("|")[1:3] for line in capsys.readouterr().out.splitlines()[2:]]
    parts = {name.strip(): float(microseconds) for name, microseconds in lines}
    assert list(parts) == ["the call itself", "lengths, rows, embeddings", layer, "pooling", "hidden layer, logits",
                           "all"]
    assert parts["all"] == pytest.approx(sum(list(parts.values())[:-1]), abs=0.5) and parts["all"] > 0


def test_student_training(run, task, tmp_path):
    out = tmp_path / "out.json"
    shown = run("student_training", "--teacher", task / "teacher", "--train", task / "train.tsv", "--out",
                out, "--runs", "1", "--sizes", "6x4", "--batch-sizes", "8", "--sentences", "64", "--n-iter", "1")
    engines = json.loads(out.read_text())["runs"][0]
    assert {"ours", "Paddle as installed", "PyTorch"} == engines.keys()
    case = "6 dimensions, 4 units, batch 8"
    assert engines["ours"]["rates"][case] > 0 and f"| {case} |" in shown


def test_scaling(run, task, tmp_path):
    out = tmp_path / "out.json"
    shown = run("scaling", "--tokenizer", task / "teacher", "--train", task / "train.tsv", "--out",
                out, "--sizes", "300", "--n-iter", "2", "--steps", "1", "--batch-size", "8")
    stages = json.loads(out.read_text())["sizes"]["300"]
    assert [stages[stage]["sentences"] for stage in ("read", "augment", "label", "train")] == [300, 900, 300, 8]
    assert all(stages[stage]["mib"] > 0 for stage in ("read", "augment", "label", "train")) and "| 300 |" in shown


def test_onnx_labelling(monkeypatch, capsys, task, tmp_path):
    pytest.importorskip("ml_dtypes")  # of ONNX Runtime's quantizer
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    benchmark, out = importlib.import_module("onnx_labelling"), tmp_path / "out.json"
    folder = put_onnx_teacher(tmp_path / "onnx", OnnxClassifier().model())
    benchmark.main([f"--teacher={task / 'teacher'}", f"--onnx={folder}", f"--train={task / 'train.tsv'}",
                    "--sentences=20", "--runs=1", f"--out={out}"])
    found = json.loads(out.read_text())
    assert found["Paddle Inference, fp32"]["ratio"] == 1 and found["ONNX Runtime, fp32"]["difference"] > 0
    assert found["ONNX Runtime, dynamic int8"]["difference"] > 0 and capsys.readouterr().out.count("\n") >= 5


def test_peers(monkeypatch, capsys, task, tiny_teacher, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    peers, out = importlib.import_module("peers"), tmp_path / "out.json"
    teacher = tiny_teacher("huggingface", max_position_embeddings=128)
    weights, spec = output_folder(tmp_path, classes=2)
    export_paddle_model(tmp_path, spec, weights)
    peers.main([f"{tmp_path}", f"--teacher={teacher}", f"--bert={teacher}", f"--train={task / 'train.tsv'}",
                f"--data={task / 'train.tsv'}", f"--work={tmp_path / 'work'}", "--rounds=1", "--seconds=0.01",
                f"--out={out}"])
    found, shown = json.loads(out.read_text()), capsys.readouterr().out
    assert found[peers.BASE]["bytes"] >= (tmp_path / "model.int8.onnx").stat().st_size
    assert found["TF-IDF + logistic regression"]["accuracy"] > 0.9  # of what it has learned from
    assert 0 < found["teacher, Paddle Inference"]["accuracy"] < 1
    assert all(one["start_s"][0] > 0 and one["peak_mib"] > 0 and one["ms"]["10 tokens"][0] > 0
               for one in found.values())
    needs = {"torch": "teacher, ONNX Runtime", "fasttext": "fastText", "model2vec": "model2vec of the teacher"}
    for module, name in needs.items():
        there = importlib.util.find_spec(module) is not None
        assert (name in found) == there and (f"| {name} | {module} is missing: pip install" in shown) != there


def test_held_out_texts_are_whole_and_no_piece_of_others(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    quality = importlib.import_module("quality")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "sst2").mkdir(parents=True)
    wholes = [f"the {word} film of this year is {word} and {word} again" for word in ("good", "dull", "long", "odd")]
    pieces = ["film of this year", "film", "is good and", "dull film", "the dull film of", "odd again", "film of"]
    rows = [f"{text}\t{number % 2}" for number, text in enumerate([*pieces, *wholes, wholes[1]])]
    (tmp_path / "data" / "sst2" / "train.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    quality._held_out(SimpleNamespace(output=tmp_path / "out", held_out=2, rows=None, unlabeled=None))
    (header, *kept), (_, *held) = [(tmp_path / "out" / "held_out_2" / name).read_text().splitlines()
                                   for name in ("train.tsv", "dev.tsv")]
    assert header == "sentence\tlabel" and len(held) == 2 and {text.split("\t")[0] for text in held} < set(wholes)
    texts = [text.split("\t")[0] for text in kept]
    assert not any(one.split("\t")[0] in text for one in held for text in texts)
    others = [whole for whole in wholes if whole not in {text.split("\t")[0] for text in held}]
    assert set(texts) == {text for text in [*pieces, *wholes] if any(text in whole for whole in others)}
    train, dev, unlabeled = quality._held_out(SimpleNamespace(output=tmp_path / "out", held_out=2, rows=3, unlabeled=2))
    _, *few = (tmp_path / "out" / "held_out_2" / "train_3.tsv").read_text().splitlines()
    assert train.endswith("train_3.tsv") and dev.endswith("dev.tsv") and len(few) == 3 and set(few) < set(kept)
    others = (tmp_path / "out" / "held_out_2" / "unlabeled_2.txt").read_text().splitlines()
    assert unlabeled == f"Global.unlabeled_file={tmp_path / 'out' / 'held_out_2' / 'unlabeled_2.txt'}"
    assert len(others) == 2 and set(others) <= set(texts) - {text.split("\t")[0] for text in few}


@pytest.mark.parametrize(("options", "message"), [
    (["--rows", "5"], "--rows: takes from what --held-out leaves"),
    (["--held-out", "5", "--unlabeled", "5"], "--unlabeled: takes from what --rows leaves")])
def test_parts_of_text_that_is_not_there_are_refused(monkeypatch, capsys, tmp_path, options, message):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    quality = importlib.import_module("quality")
    monkeypatch.setattr("sys.argv", ["quality.py", "--output", str(tmp_path / "out"), *options])
    with pytest.raises(SystemExit):
        quality.main()
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_students_of_the_same_text_have_a_seed_of_their_own(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    quality = importlib.import_module("quality")
    commands = []

    def note(command, check):
        commands.append(command)
        models = [{"name": "teacher", "accuracy": 1.0, "size_bytes": 10**6, "latency_ms": {"p50": 1.0}}]
        figures = {"models": models, "teacher": 1.0, "distilled": 0.9, "seconds": 60.0}
        (tmp_path / "last.json").write_text(json.dumps(figures))
    monkeypatch.setattr(quality.subprocess, "run", note)
    monkeypatch.setattr("sys.argv", ["quality.py", "--output", str(tmp_path), "--seeds", "1", "2", "--only", "default",
                                     "--same-text"])
    quality.main()
    assert [command[command.index("--seed") + 1] for command in commands] == ["0", "0"]
    assert [[one for one in command if "seed=" in one] for command in commands] == [
        ["--override=bert_to_bilstm.seed=1"], ["--override=bert_to_bilstm.seed=2"]]
    assert set(json.loads((tmp_path / "results.json").read_text())) == {"default, seed 1, same text",
                                                                         "default, seed 2, same text"}


def test_quality_shows_a_table_and_the_frontier(monkeypatch, capsys, task, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    quality = importlib.import_module("quality")
    overrides = [f"Global.model_dir={task / 'teacher'}", f"Global.train_file={task / 'train.tsv'}",
                 f"Global.dev_file={task / 'dev.tsv'}", "DataAugmentation.n_iter=1", "TrainConfig.epochs=1",
                 "bert_to_bilstm.student.embed_dim=8", "Global.max_seq_length=32"]
    results = {}
    paddle.disable_static()  # as in the benchmark's own process
    try:
        for name in ("default", "last states alone"):
            quality._run_one(name, 3, [*overrides, "bert_to_bilstm.student.hidden_size=8"], tmp_path)
            results[f"{name}, seed 3"] = json.loads((tmp_path / "last.json").read_text())
    finally:
        paddle.enable_static()
    (tmp_path / "results.json").write_text(json.dumps(results))
    monkeypatch.setattr("sys.argv", ["quality.py", "--output", str(tmp_path), "--seeds", "3", "--only", "default",
                                     "last states alone"])
    quality.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| teacher", "| Bi-LSTM alone", "| default",
                                                            "| last states alone"]
    assert (tmp_path / "frontier.png").read_bytes()[1:4] == b"PNG"
