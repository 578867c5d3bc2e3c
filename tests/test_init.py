"""``paddleslim-bilstm init``: what it sees in a file, and a YAML that the configuration takes as it stands."""

import csv
import json
import shutil
import subprocess
import sys

import pytest
import yaml
from pair_reviews import make_pairs, write_pairs
from reviews import make_reviews

from paddleslim_bilstm import cli
from paddleslim_bilstm.config.draft import look_at
from paddleslim_bilstm.config.reading import load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.teacher import load_teacher
from paddleslim_bilstm.teacher.weights import read_pdparams
from paddleslim_bilstm.text import load_dataset


@pytest.fixture
def init(tmp_path, monkeypatch, capsys):
    """Run ``init`` in a folder of its own; return the five lines and the configuration that the YAML holds."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = cli.main(["init", *map(str, arguments), "--output", "mine.yaml"])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        lines = captured.out.splitlines()
        assert len(lines) == 7 and lines[6] == "Next: paddleslim-bilstm compress mine.yaml"
        settings = load_config("mine.yaml")
        data = load_dataset(settings.global_)          # the columns, the labels and both parts are found again
        return lines[:5], settings, data
    return run


def _rows(count=200):
    return make_reviews(count, 0)


def test_a_tsv_with_its_dev_set_and_teacher(init, review_files, tiny_teacher):
    teacher = tiny_teacher("huggingface")
    lines, settings, data = init(review_files / "train.tsv", "--teacher", teacher)
    assert "300 texts" in lines[0] and lines[1].startswith("2 classes: ") and "(estimated)" not in lines[2]
    assert f"dev set: {review_files / 'dev.tsv'}" in lines[3] and "bert, 2 layers, 2 outputs" in lines[4]
    assert settings.global_.model_dir == str(teacher) and settings.finetune.model is None
    assert settings.global_.max_seq_length == 32 and settings.augmentation.n_iter == 100
    assert (len(data.train_texts), len(data.dev_texts)) == (300, 80)
    assert "# bert" in open("mine.yaml").read() or "# teacher: bert" in open("mine.yaml").read()


def test_a_csv_with_odd_columns_is_split(init, tmp_path):
    with open(tmp_path / "tickets.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Nr", "Betreff, Text", "Warteschlange", "URL"])
        for number, (text, label) in enumerate(_rows()):
            writer.writerow([number, f'{text}, "sagt man"', ("Lob", "Tadel")[label], f"https://x.org/{number}"])
    lines, settings, data = init(tmp_path / "tickets.csv")
    assert "200 texts in Betreff, Text, labels in Warteschlange" in lines[0]
    assert "no dev file beside it: 20 are split off" in lines[3] and settings.finetune.model == "bert-base-uncased"
    assert len(data.train_texts) == 180 and len(data.dev_texts) == 20 and data.label_names == ["Lob", "Tadel"]
    assert not set(data.train_texts) & set(data.dev_texts)


def test_an_excel_file_with_semicolons_and_a_chinese_header(init, tmp_path):
    with open(tmp_path / "odd.csv", "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["编号", "日期", "客人的话, 原文", "情感", "链接"])
        for number in range(100):
            text = f'他说: "早餐{"很好" * (number % 7 + 1)}"; 房间{number}\n太小'
            writer.writerow([f"A-{number}", f"2026-01-{number % 28}", text, ("好评", "差评")[number % 2],
                             f"https://example.org/?a={number};b=2"])
    lines, settings, data = init(tmp_path / "odd.csv")
    assert "100 texts in 客人的话, 原文, labels in 情感" in lines[0] and lines[2].startswith("Chinese; ")
    assert len(data.train_texts) == 90 and {*data.label_names} == {"好评", "差评"}
    assert all(text.startswith('他说: "早餐很好') and text.endswith("\n太小") for text in data.train_texts)


def test_texts_are_cut_where_the_teacher_ends(init, tmp_path, review_files, tiny_teacher):
    teacher = tiny_teacher("huggingface")                           # with 64 positions
    rows = "".join(f"{text * 20}\t{label}\n" for text, label in _rows())
    (tmp_path / "long.tsv").write_text(f"sentence\tlabel\n{rows}", encoding="utf-8")
    assert init(tmp_path / "long.tsv", "--teacher", teacher)[1].global_.max_seq_length == 64


def test_few_texts_are_trained_on_as_long_as_by_default(init, review_files):
    _, settings, _ = init(review_files / "train.tsv")
    assert settings.train.epochs is None and settings.train.train_iter is None

def test_equal_texts_stay_on_one_side_of_the_split(init, tmp_path):
    (tmp_path / "twice.tsv").write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in _rows() * 2))
    lines, _, data = init(tmp_path / "twice.tsv")
    assert "200 repeated" in lines[3]
    assert len(data.dev_texts) == 40 and not set(data.train_texts) & set(data.dev_texts)


def test_jsonl_with_several_labels_in_chinese(init, tmp_path):
    rows = [{"id": number, "text": f"早餐很好，房间{'太小' * (number % 7)}了{number}", "label": labels}
            for number in range(100) for labels in [[["早餐"], ["房间", "早餐"], []][number % 3]]]
    (tmp_path / "hotel.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    lines, settings, data = init(tmp_path / "hotel.jsonl")
    assert lines[1].startswith("2 labels, any number of them a text: 早餐 67%, 房间 33%")
    assert lines[2].startswith("Chinese; ") and settings.finetune.model == "bert-base-chinese"
    assert settings.global_.task == "multi_label" and data.train_labels.shape == (90, 2)


def test_pairs_with_names_of_their_own(init, tmp_path):
    rows = make_pairs(120, 0)
    (tmp_path / "q.tsv").write_text("Frage_1\tFrage_2\tgleich\n" + "".join(
        f"{first}\t{second}\t{label}\n" for (first, second), label in rows))
    lines, settings, data = init(tmp_path / "q.tsv", "--label-column", "gleich")
    assert "120 pairs in Frage_1 and Frage_2" in lines[0]
    assert len(data.train_texts) == 108 and not isinstance(data.train_texts[0], str)


def test_usual_pairs_and_numbers(init, tmp_path):
    rows = [(pair, number / 7) for number, (pair, _) in enumerate(make_pairs(60, 0))]
    write_pairs(tmp_path / "train.tsv", rows)
    write_pairs(tmp_path / "valid.tsv", rows[:20])
    lines, settings, data = init(tmp_path / "train.tsv")
    assert lines[1] == "numbers from 0 to 8.42857: a regression" and settings.global_.task == "regression"
    assert settings.global_.dev_file == str(tmp_path / "valid.tsv") and settings.global_.text_column is None


def test_a_rare_class_changes_the_metric(init, tmp_path):
    rows = [f"{text} {number}\t{int(number % 10 == 0)}" for number, (text, _) in enumerate(_rows())]
    (tmp_path / "rare.tsv").write_text("sentence\tlabel\n" + "\n".join(rows))
    _, settings, _ = init(tmp_path / "rare.tsv")
    assert settings.global_.metric == "macro_f1"


def test_labels_between_commas_are_several_only_where_they_occur_alone(init, tmp_path):
    cells = ["a", "b", "a,b", "b, a"]
    (tmp_path / "t.tsv").write_text("sentence\tlabel\n" + "".join(
        f"{text} {number}\t{cells[number % 4]}\n" for number, (text, _) in enumerate(_rows())))
    assert init(tmp_path / "t.tsv")[1].global_.task == "multi_label"


@pytest.mark.parametrize("separator", "|；、")
def test_labels_between_other_marks_than_commas_are_no_classes(init, tmp_path, separator):
    cells = ["a", "b", f"a{separator}b", f"b{separator}a"]
    (tmp_path / "t.tsv").write_text("sentence\tlabel\n" + "".join(
        f"{text} {number}\t{cells[number % 4]}\n" for number, (text, _) in enumerate(_rows())), encoding="utf-8")
    with pytest.raises(UserError, match=rf"label.*: the labels are .*\{separator}.*; put a comma.* between them"):
        look_at(tmp_path / "t.tsv")
    classes = ["a", "b", f"c{separator}d"]
    (tmp_path / "t.tsv").write_text("sentence\tlabel\n" + "".join(
        f"{text} {number}\t{classes[number % 3]}\n" for number, (text, _) in enumerate(_rows())), encoding="utf-8")
    assert init(tmp_path / "t.tsv")[1].global_.task == "classification"


def test_lists_that_were_written_as_text_are_several_labels(init, tmp_path):
    cells = ["['a']", "['b', 'a']", "[]", "['b']"]
    (tmp_path / "t.tsv").write_text("sentence\tlabel\n" + "".join(
        f"{text} {number}\t{cells[number % 4]}\n" for number, (text, _) in enumerate(_rows())))
    assert init(tmp_path / "t.tsv")[1].global_.task == "multi_label"


@pytest.mark.parametrize("config, reads", [({"model_type": "roberta", "pad_token_id": 1}, 126), ({}, 128),
                                           ({"max_position_embeddings": "128"}, None), ({"num_labels": "2"}, None)])
def test_what_a_teacher_reads_is_what_its_family_can(tmp_path, config, reads):
    from paddleslim_bilstm.config.draft import _teacher
    config = {"max_position_embeddings": 128, "num_labels": 2, **config}
    if reads is None:
        with pytest.raises(UserError, match="config.json: .* which must be a whole number"):
            _teacher(str(tmp_path), config, False)
    else:
        assert _teacher(str(tmp_path), config, False)[3] == reads


def test_labels_and_columns_cannot_write_settings(init, tmp_path):
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    odd = 'odd\n  plugins: [evil.py]\n  # '
    with open(tmp_path / "d.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Kommentar\n(Freitext)", "label\u2028x"])
        writer.writerows([f"{text} {number}", odd if number % 20 == 0 else ("a", "b")[label]]
                         for number, (text, label) in enumerate(_rows()))
    (tmp_path / "train.csv").write_bytes((tmp_path / "d.csv").read_bytes())
    (tmp_path / "dev.csv").write_bytes((tmp_path / "d.csv").read_bytes())
    _, settings, data = init(tmp_path / "train.csv", "--label-column", "label\u2028x", "--text-column",
                             "Kommentar\n(Freitext)")
    assert settings.global_.plugins is None and settings.global_.metric == "macro_f1" and len(data.label_names) == 3
    assert settings.global_.text_column == "Kommentar\n(Freitext)"


def test_each_class_is_in_both_parts_and_a_single_text_trains(init, tmp_path):
    labels = ["common"] * 160 + ["rare"] * 2 + [f"once {number}" for number in range(15)]
    (tmp_path / "t.tsv").write_text("sentence\tlabel\n" + "".join(
        f"{text} {number}\t{label}\n" for (number, label), (text, _) in zip(enumerate(labels), _rows())))
    _, _, data = init(tmp_path / "t.tsv")
    dev = {data.label_names[label] for label in data.dev_labels}
    assert dev == {"common", "rare"} and len(data.label_names) == 17 and len(data.dev_texts) == 17


def test_a_dev_set_is_one_that_a_run_takes(init, tmp_path):
    rows = "".join(f"{text} {n},{label}\n" for n, (text, label) in enumerate(_rows()))
    for name, body in (("train", rows), ("dev", "fine,1\ngood,1\n"), ("valid", "so,-1\nno,1\n"), ("test", rows)):
        (tmp_path / f"{name}.csv").write_text(f"text,label\n{body}")
    lines, settings, _ = init(tmp_path / "train.csv")
    assert f"dev set: {tmp_path / 'test.csv'}" in lines[3]
    (tmp_path / "mine.yaml").unlink()
    (tmp_path / "test.csv").unlink()
    lines, settings, _ = init(tmp_path / "train.csv")
    assert f"{tmp_path / 'dev.csv'} can't be the dev set" in lines[3] and "every row has the label 1" in lines[3]


@pytest.mark.parametrize("labels", [[0.5, 1.5] * 8, [0.1, *[0.7] * 20, 0.9, 0.9], ["a", "b"] * 3,
                                    [n / 7 for n in range(9)]])
def test_few_rows_are_split_so_that_a_run_takes_them(init, tmp_path, labels):
    (tmp_path / "t.tsv").write_text("text\tlabel\n" + "".join(f"a text {n}\t{one}\n" for n, one in enumerate(labels)))
    assert len(set(init(tmp_path / "t.tsv")[2].dev_labels.tolist())) >= 2


def test_a_folder_called_like_a_number_is_text(init, tmp_path, tiny_teacher):
    shutil.copytree(tiny_teacher("huggingface"), tmp_path / "5e-5")
    (tmp_path / "t.tsv").write_text("sentence\tlabel\n" + "".join(f"{text} {n}\t{label}\n" for n, (text, label)
                                                               in enumerate(_rows())))
    assert init("t.tsv", "--teacher", "5e-5")[1].global_.model_dir == "5e-5"


def test_a_file_without_labels_is_no_dev_set(init, tmp_path):
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"{text} {n},{label}\n" for n, (text, label)
                                                                 in enumerate(_rows())))
    (tmp_path / "test.csv").write_text("id,text\n1,good\n")
    lines, settings, _ = init(tmp_path / "train.csv")
    assert f"{tmp_path / 'test.csv'} can't be the dev set" in lines[3]
    assert settings.global_.dev_file == "mine.dev.jsonl"


@pytest.mark.parametrize("column", ["query", "content"])
def test_a_column_that_was_named_is_the_one_that_is_read(init, tmp_path, column):
    lines = ["query\ttitle\tcontent\tlabel"] + [f"{text} {n}\tt\t{text} c{n}\t{label}" for n, (text, label)
                                               in enumerate(_rows())]
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / name).write_text("\n".join(lines))
    _, settings, data = init(tmp_path / "train.tsv", "--text-column", column)
    assert settings.global_.text_column == column and isinstance(data.train_texts[0], str)


def test_a_label_column_with_a_texts_name_is_no_text(init, tmp_path):
    names = {1: "positive", 0: "negative"}
    rows = "".join(f"{text} {n},{names[int(label)]}\n" for n, (text, label) in enumerate(_rows()))
    for name in ("train.csv", "dev.csv"):
        (tmp_path / name).write_text("comment,review\n" + rows)
    _, settings, data = init(tmp_path / "train.csv", "--label-column", "review")
    assert (settings.global_.text_column, settings.global_.label_column) == ("comment", "review")
    assert {*data.label_names} == {"negative", "positive"} and not {*data.train_texts} & {*data.label_names}
    for name in ("train.csv", "dev.csv"):
        (tmp_path / name).write_text("target,stars\n" + rows)
    (tmp_path / "mine.yaml").unlink()
    _, settings, data = init(tmp_path / "train.csv", "--text-column", "target")
    assert settings.global_.text_column == "target" and {*data.label_names} == {"negative", "positive"}


@pytest.mark.parametrize("config, task", [
    ({"id2label": {"0": "LABEL_0"}, "problem_type": "regression"}, "regression"), ({"num_labels": 1}, "regression"),
    ({"id2label": {"0": "0", "1": "1", "2": "2"}, "problem_type": "multi_label_classification"}, "multi_label"),
    ({"num_labels": 3}, "classification")])
def test_the_teacher_tells_the_task_where_labels_dont(init, tmp_path, tiny_teacher, config, task):
    folder = shutil.copytree(tiny_teacher("huggingface"), tmp_path / "teacher")
    known = json.loads((folder / "config.json").read_text())
    known = {key: value for key, value in known.items() if key not in ("id2label", "num_labels", "label2id")}
    (folder / "config.json").write_text(json.dumps({**known, **config}))
    (tmp_path / "t.csv").write_text("text,label\n" + "".join(
        f"{text} {n},{n % 3}\n" for n, (text, _) in enumerate(_rows())))
    assert init(tmp_path / "t.csv", "--teacher", folder)[1].global_.task == task


def test_blanks_in_the_header_and_small_numbers(init, tmp_path):
    (tmp_path / "t.csv").write_text("text, label\n" + "".join(
        f"{text} {n},{[0.5, 1.0, 1e-05][n % 3]}\n" for n, (text, _) in enumerate(_rows())))
    assert init(tmp_path / "t.csv")[1].global_.task == "regression"


def _table(path, names, labels):
    """Write reviews below a first line; ``names`` of None stands for none, so that the first row is in its place."""
    rows = [f"{number},{text} {number},{labels[label]}" for number, (text, label) in enumerate(_rows())]
    path.write_text("\n".join([*([] if names is None else [names]), *rows]))


@pytest.mark.parametrize("labels, message", [
    (("0", "1"), "t.csv:1: reads like a row, not like names of columns: 0 is a number above numbers; write names, "),
    (("bad", "good"), "t.csv:1: reads like a row, not like names of columns: 0 is a number above numbers; ")])
def test_a_file_without_names_of_columns_is_refused(tmp_path, monkeypatch, capsys, labels, message):
    monkeypatch.chdir(tmp_path)
    _table(tmp_path / "t.csv", None, labels)
    assert cli.main(["init", "t.csv"]) == cli.USER_ERROR
    assert message in capsys.readouterr().err
    (tmp_path / "t.csv").write_text("\n".join(f"{text} {number},{labels[label]}"
                                              for number, (text, label) in enumerate(_rows())))
    assert cli.main(["init", "t.csv"]) == cli.USER_ERROR
    error = capsys.readouterr().err
    assert f"{labels[_rows()[0][1]]} is {'a number above' if labels[0] == '0' else 'in rows below it, too'}" in error
    assert error.count("\n") == 1 and [file.name for file in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("names, options", [
    ("Nr,Kommentar,Sterne", ()), ("0,1,2", ()), (",0,1", ()), ("2,text,1", ()),
    ("Nr,Kommentar,good", ("--label-column", "good"))])
def test_odd_names_of_columns_are_names(init, tmp_path, names, options):
    _table(tmp_path / "t.csv", names, ("bad", "good"))
    rows = (tmp_path / "t.csv").read_text()
    (tmp_path / "t.csv").write_text(f"{rows}\n{names}\n" if "Sterne" in names else rows)  # two files in one
    _, _, data = init(tmp_path / "t.csv", *options)
    assert {*data.label_names} >= {"bad", "good"} and not data.train_texts[0].isdigit()


def test_the_parts_of_a_split_take_no_files_place(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "".join(json.dumps({"text": f"{text} {number}", "label": label}) + "\n"
                   for number, (text, label) in enumerate(_rows()))
    (tmp_path / "reviews.train.jsonl").write_text(rows)
    assert cli.main(["init", "reviews.train.jsonl", "--output", "reviews.yaml"]) == cli.USER_ERROR
    assert "reviews.train.jsonl is there already" in capsys.readouterr().err
    assert (tmp_path / "reviews.train.jsonl").read_text() == rows and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content, options, message", [
    ("sentence;label\ngood;1\nbad;1,5\nso;2\n", (), "label holds 1,5, which may be a decimal or two labels"),
    ("sentence\tlabel\ngood\t1\nbad\t1\n", (), "every row has the label 1"),
    ("sentence\tlabel\n" + "".join(f"text {n}\tl{n}\n" for n in range(9)), (), "has too few rows of a label"),
    ("sentence\tlabel\ngood\ta\nbad\tb\nso\tc\n", ("--teacher", "TEACHER"), "data.tsv"),
    ("x\ty\n1\t2\n", (), "none of the columns x, y looks like labels; name it with --label-column"),
    ('{}\n{"text": "good", "label": 1}\n', (), "data.jsonl:1: has no keys, and the first of all must have"),
    ("sentence\tlabel\n", (), "has no rows below the names of its columns"),
    ("sentence\tlabel\ngood\t1\n", ("--teacher", "nowhere"), "--teacher: nowhere is not there")])
def test_mistakes_are_told_in_one_line(tmp_path, monkeypatch, capsys, tiny_teacher, content, options, message):
    monkeypatch.chdir(tmp_path)
    file = "data.csv" if content.startswith("sentence;") else "data.jsonl" if content[0] == "{" else "data.tsv"
    (tmp_path / file).write_text(content)
    options = [str(tiny_teacher("huggingface")) if one == "TEACHER" else one for one in options]
    assert cli.main(["init", file, *options]) == cli.USER_ERROR
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "data.yaml").exists()


def _bare_encoder(folder, tiny_teacher):
    import safetensors.numpy
    shutil.copytree(tiny_teacher("huggingface"), folder)
    weights = safetensors.numpy.load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    safetensors.numpy.save_file(kept, folder / "model.safetensors")


def _sharded_encoder(folder, tiny_teacher):
    _bare_encoder(folder, tiny_teacher)
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "part.safetensors"}}))


def _bare_paddle_encoder(folder, tiny_teacher):
    import paddle
    shutil.copytree(tiny_teacher("paddlenlp"), folder)
    weights = read_pdparams(folder / "model_state.pdparams")
    paddle.save({name: value for name, value in weights.items() if not name.startswith("classifier")},
                str(folder / "model_state.pdparams"))


def _of_tokens(folder, tiny_teacher):
    shutil.copytree(tiny_teacher("huggingface"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForTokenClassification"]}))


def _student(folder, tiny_teacher):
    shutil.copytree(tiny_teacher("exported"), folder)
    (folder / "student.json").write_text("{}")


@pytest.mark.parametrize("make, message", [
    *((make, "config.json: no classifier weights beside it, so this is a pretrained model and no fine-tuned "
             "classifier; name the folder of one, or this one as Finetune.model, to fine-tune it")
      for make in (_bare_encoder, _sharded_encoder, _bare_paddle_encoder)),
    (_of_tokens, "is of a model ForTokenClassification, no classifier of whole texts"),
    (_student, "holds a finished student (student.json), no BERT that could teach"),
    (lambda folder, _: folder.write_text("no model"), "--teacher: teacher is not a folder; name the folder of"),
    (lambda folder, _: folder.mkdir(), "teacher: holds no model; looked for")])
def test_what_can_be_no_teacher_is_refused(tmp_path, monkeypatch, capsys, tiny_teacher, review_files, make, message):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "teacher", tiny_teacher)
    capsys.readouterr()  # PaddleNLP's
    command = ["init", str(review_files / "train.tsv"), "--output", "mine.yaml"]
    assert cli.main([*command, "--teacher", "teacher"]) == cli.USER_ERROR
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "mine.yaml").exists()
    with pytest.raises(UserError) as raised:  # and what a run says
        load_teacher("teacher", tmp_path / "work")
    assert message.removeprefix("--teacher: ") in str(raised.value)


def test_a_teacher_is_looked_at_without_paddle(tmp_path, tiny_teacher, review_files):
    code = ("import sys; from paddleslim_bilstm import cli; "
            "assert cli.main(['init', *sys.argv[1:]]) == 0; assert not {'paddle', 'onnx'} & sys.modules.keys()")
    for kind in ("huggingface", "paddlenlp", "exported"):
        subprocess.run([sys.executable, "-c", code, str(review_files / "train.tsv"), "--teacher",
                        str(tiny_teacher(kind)), "--output", str(tmp_path / f"{kind}.yaml")], check=True)


def test_a_yaml_that_is_there_stays(tmp_path, monkeypatch, capsys, review_files):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"mine": 1}))
    assert cli.main(["init", str(review_files / "train.tsv"), "--output", "mine.yaml"]) == cli.USER_ERROR
    assert "mine.yaml is there already" in capsys.readouterr().err
    assert yaml.safe_load((tmp_path / "mine.yaml").read_text()) == {"mine": 1}
