"""report.html: read as HTML, run in a browser where there is one; and what it says of teacher and student."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from paddleslim_bilstm.report.charts import Dot, Line, dot_chart, line_chart
from paddleslim_bilstm.report.comparison import Comparison, Said
from paddleslim_bilstm.report.measure import ALONE, DISTILLED, TEACHER, Latency, ModelRow
from paddleslim_bilstm.report.page import Variant, changed_parts, comparison_page, html_of, losses_of
from paddleslim_bilstm.report.plot import quality_axis
from paddleslim_bilstm.report.report import quality
from paddleslim_bilstm.report.write import write_report
from paddleslim_bilstm.task import CLASSIFICATION, REGRESSION, TASKS

VOID = {"meta", "br"}
HOSTILE = '<script>alert("x")</script> & <b>bold</b>'


class Page(HTMLParser):
    """What of a page the tests ask for; a tag that isn't closed, or is closed by another, fails."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.ids, self.texts, self.outside, self._open = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes.get("class", "")))
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.outside += [value for name, value in attributes.items() if name in ("src", "srcset", "data")
                         or name == "href" and not value.startswith(("#", "https://arxiv.org"))]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes).get("class", "")))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("style", "script"):
            self.texts.append(data)

    def count(self, tag, look=None):
        return sum(one == tag and look in (None, *classes.split()) for one, classes in self.tags)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


def _row(name, accuracy, size_bytes, p50):
    return ModelRow(name, accuracy, f1=accuracy, agreement=0.95, parameters=size_bytes // 4, size_bytes=size_bytes,
                    flops=int(p50 * 5e7), flops_tokens=24, latency_ms=Latency(p50, 2 * p50),
                    sentences_per_s=3000 / p50, runtime="ONNX Runtime, 1 thread")


ROWS = (_row(TEACHER, 0.892, 91_000_000, 14.4), _row(ALONE, 0.816, 20_400_000, 1.6),
        _row(DISTILLED, 0.86, 20_400_000, 1.58), _row("QuantBiLSTM", 0.858, 5_000_000, 0.16))
TRAINING = {ALONE: {"evaluations": [[10, 0.7, 0.61], [20, 0.816, 0.4], [30, 0.81, 0.2]], "chosen": 20},
            DISTILLED: {"evaluations": [[10, 0.8, 2.5], [20, 0.86, 1.1], [30, 0.85, 0.7]], "chosen": 30}}


def _comparison(task=CLASSIFICATION, texts=None, labels="gold", names=("bad", "good"), size=60):
    rng = np.random.default_rng(0)
    texts = [f"text number {number}" for number in range(size)] if texts is None else texts
    teacher = rng.normal(0, 2, (len(texts), len(names))).astype(np.float32)
    student = teacher + rng.normal(0, 1, teacher.shape).astype(np.float32)
    gold = task.answers_of(teacher + rng.normal(0, 1, teacher.shape).astype(np.float32))
    gold = (gold > 0).astype(np.float32) if gold.ndim == 2 else gold
    return Comparison(texts, gold if labels else None, Said(teacher, task), Said(student, task),
                      rng.integers(3, 40, len(texts)), names, "dev texts")


def _report(folder, comparison=None, examples=(), **options):
    options = {"config": {"Global": {"model_dir": "teachers/mine", "task": "classification"}}, "training": TRAINING,
               **options}
    write_report(folder, ROWS, seconds={"distil": 3.0}, data_counts={"train": 500, "dev": 60},
                 transfer_set={"made": 1500}, comparison=comparison, examples=examples, **options)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_page_has_all_its_parts_and_needs_nothing_from_elsewhere(tmp_path):
    logits = np.array([1.0, -1.0], np.float32)
    example = [Variant("original", "a good film", logits), Variant("masking", "a [MASK] film", logits),
               Variant("all hooks", "good film", logits)]
    page = _report(tmp_path, _comparison(), [example], notes=["mind the gap"])
    assert page.outside == []
    assert {"models", "training", "disagreements", "confusions", "behaviour", "transfer", "notes", "the-data",
            "where-the-time-went", "how-it-was-measured", "how-to-load-the-model", "settings"} <= set(page.ids)
    assert page.count("svg") == 7                     # two of quality, three of training, calibration, lengths
    assert page.count("circle", "chosen") == 2        # the checkpoints of both trainings
    assert page.count("table", "sortable") == 1 and page.count("table", "heat") == 3
    assert page.count("mark") == 1                    # [MASK]; what is gone can't be marked
    for said in ("mind the gap", "keeps 96.2 %", "model_dir: teachers/mine", "bad 88 %", "[MASK]"):
        assert said in page.text
    assert json.loads((tmp_path / "report.json").read_text())["training"] == TRAINING


def test_a_users_own_metric_may_be_no_number(tmp_path):
    training = {DISTILLED: {"evaluations": [[10, float("nan"), 2.5], [20, float("-inf"), 1.1], [30, 0.85, 0.7]],
                            "chosen": 20}}
    page = _report(tmp_path, training=training, evaluated_by="judge")
    assert page.count("circle", "chosen") == 0 and "training" in page.ids
    told = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)  # it is strict JSON
    assert told["training"][DISTILLED]["evaluations"][0] == [10, None, 2.5]
    rows = [replace(row, accuracy=None, f1=None, metric=metric) for row, metric in zip(ROWS, (0.5, float("nan"), 1, 2))]
    label, values = quality_axis(rows, "accuracy")
    assert "agree" in label and np.isfinite(values).all()
    of_a_plug_in = [replace(row, accuracy=float("nan")) for row in ROWS]
    assert "agree" in quality_axis(of_a_plug_in, "accuracy")[0]
    assert "own evaluation" in quality(rows[0]) and "own evaluation" not in quality(rows[1])


def test_a_page_without_a_teachers_answers_leaves_their_parts_out(tmp_path):
    page = _report(tmp_path, training={})
    assert not {"training", "disagreements", "confusions", "behaviour", "transfer"} & set(page.ids)
    assert {"models", "settings"} <= set(page.ids)


def test_text_of_the_users_is_shown_as_it_is(tmp_path):
    hostile = [HOSTILE] * 60
    page = _report(tmp_path, _comparison(texts=hostile, names=("bad", HOSTILE)),
                   [[Variant("original", HOSTILE, None), Variant(HOSTILE, HOSTILE, None)]], notes=[HOSTILE],
                   config={"Global": {"model_dir": HOSTILE}})
    assert page.count("script") == 1 and page.count("b", "bold") == 0
    assert HOSTILE in page.text


@pytest.mark.parametrize("task, names", [("classification", ("体育", "财经", "娱乐")),
                                         ("multi_label", ("早餐", "房间"))])
def test_pairs_and_chinese_text_are_shown(tmp_path, task, names):
    texts = [(f"早餐很好{number}", "房间太小了。") for number in range(60)]
    page = _report(tmp_path, _comparison(TASKS[task], texts, names=names),
                   [[Variant("original", texts[0], None), Variant("masking", ("早餐[MASK]好0", texts[0][1]), None)]],
                   metric=TASKS[task].metrics[0].name)
    assert "房间太小了。" in page.text and names[0] in page.text
    assert page.count("mark") == 1                    # of the characters only the one that is masked
    assert page.count("article", "case") > 0


def test_a_regression_shows_the_largest_differences_and_no_classes(tmp_path):
    config = {"Global": {"model_dir": "teachers/mine", "task": "regression"}}
    comparison = _comparison(REGRESSION, names=("score",))
    page = _report(tmp_path, comparison, metric="pearson", config=config)
    assert "confusions" not in page.ids and "largest differences first" in page.text
    distances = np.abs(comparison.teacher.answers - comparison.student.answers)
    assert comparison.disagreements[0] == distances.argmax()
    assert comparison.case(0).keys() == {"text", "label", "teacher", "student", "sure"}


def test_long_lists_are_cut_and_say_so():
    page = Page(comparison_page(_comparison(size=2000), "mine", most_cases=20))
    assert page.count("article", "case") == 40        # what the student has not learned, and the teacher's errors
    assert "20 of them are shown" in page.text


def test_disagreements_begin_with_the_surest_and_teachers_errors_stand_apart():
    names, labels = ("bad", "good", "fair"), np.array([0, 1, 2, 1])
    teacher = np.array([[4, 0, 0], [2, 0, 0], [0, 0, 3], [0, 1, 0]], np.float32)   # wrong about the second
    student = np.array([[0, 4, 0], [0, 3, 0], [0, 0, 3], [1, 0, 0]], np.float32)
    found = Comparison(list("abcd"), labels, Said(teacher, CLASSIFICATION), Said(student, CLASSIFICATION),
                       np.array([1, 2, 3, 4]), names, "texts")
    assert found.disagreements.tolist() == [0, 1, 3] and found.teacher_errors.tolist() == [1]
    assert found.teacher_is_right.tolist() == [True, False, True, True]
    sure = np.exp(4) / (np.exp(4) + 2)
    case = found.case(0)
    assert case["sure"] == pytest.approx(sure, abs=1e-6)
    assert (case["label"], case["teacher"]["label"], case["student"]["label"]) == ("bad", "bad", "good")
    assert found.confusions()["the student's"].tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert found.concerned(1) == [0, 1]


def test_several_labels_disagree_where_one_does():
    labels = np.array([[1, 0], [1, 1]], np.float32)
    teacher, student = np.array([[3, -3], [1, 2]], np.float32), np.array([[3, -1], [1, -2]], np.float32)
    task = TASKS["multi_label"]
    found = Comparison(["a", "b"], labels, Said(teacher, task), Said(student, task), np.array([1, 2]), ("x", "y"),
                       "texts")
    assert found.disagreements.tolist() == [1] and not len(found.teacher_errors)
    assert found.case(1)["sure"] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)
    assert found.case(1)["student"]["labels"] == ["x"]
    assert sum(count for _, _, count in found.calibration()["teacher"]) == 4      # every probability


def test_figures_by_length_cover_all_texts():
    comparison = _comparison(size=200)
    groups = comparison.by_length("accuracy")
    assert sum(group["texts"] for group in groups) == 200 and len(groups) == 6
    assert all(one["longest"] < other["shortest"] for one, other in zip(groups, groups[1:]))
    assert replace(comparison, lengths=np.full(200, 7)).by_length("accuracy")[0]["texts"] == 200


def test_names_of_dots_cover_neither_dots_nor_names():
    dots = [Dot(f"a model called {number}", 1 + number / 50, 0.86 - number / 1000, 0.2, "student")
            for number in range(6)]
    svg = str(dot_chart(dots, "ms", "accuracy"))
    boxes = [(float(x) - 3 * len(name), float(y) - 10, float(x) + 3 * len(name), float(y) + 3) for x, y, name in
             re.findall(r'<text class="name" x="([\d.-]+)" y="([\d.-]+)">([^<]+)', svg)]
    assert len(boxes) == 6
    assert not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
                   for place, a in enumerate(boxes) for b in boxes[:place])


def test_a_line_from_a_dot_ends_at_its_name():
    svg = str(dot_chart([Dot(f"model {number}", 1 + number / 500, 0.86, 0.02, "student") for number in range(9)],
                        "ms", "accuracy"))
    leaders = re.findall(r'class="leader" x1="[\d.-]+" y1="[\d.-]+" x2="([\d.-]+)" y2="([\d.-]+)"/>'
                         r'<text class="name" x="([\d.-]+)" y="([\d.-]+)">([^<]+)', svg)
    assert leaders and not any(abs(float(to_x) - float(x)) < 2.9 * len(name) and -9 < float(to_y) - float(y) < 2
                               for to_x, to_y, x, y, name in leaders)


def test_a_last_loss_of_few_steps_is_no_point_of_the_curve():
    history = [[24, 0.5, 0.7], [48, 0.6, 0.5], [49, 0.6, 0.2]]
    assert losses_of(history) == [(24, 0.7), (48, 0.5)]
    assert losses_of([*history[:2], [70, 0.6, 0.2]])[-1] == (70, 0.2) and losses_of([[2, 0.5]]) == []


def test_a_chart_stands_points_that_are_all_the_same():
    svg = str(line_chart([Line("alone", [(100, 0.5)], "alone", 0)], "steps", "accuracy"))
    assert "nan" not in svg and "inf" not in svg


def test_changed_words_are_found_and_capitals_and_spaces_are_no_change():
    assert list(changed_parts("A good film.", "a bad film .")) == [("a", False), (" bad", True), (" film .", False)]


def test_markdown_becomes_html():
    html = html_of("Some `code` and **more**.\n\n| a | b |\n|---|---:|\n| x \\| y | <2> |\n\n- one\n- two\n\n"
                   "```python\nif a < b:\n\n    pass\n```\n\nthe end")
    assert "<code>code</code>" in html and "<b>more</b>" in html and "<td>x | y</td>" in html
    assert '<td class="right">&lt;2&gt;</td>' in html and html.count("<li>") == 2
    assert "<pre><code>if a &lt; b:\n\n    pass</code></pre>" in html and "<p>the end</p>" in html


def test_a_browser_runs_the_page(tmp_path):
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium is installed")
    _report(tmp_path, _comparison())
    probe = """<script>
      document.querySelectorAll('#models th')[7].click();
      const names = [...document.querySelectorAll('#models tbody tr')].map(row => row.cells[0].textContent);
      const filter = document.querySelector('select[data-filter=teacher]');
      filter.value = '1'; filter.dispatchEvent(new Event('change'));
      const list = filter.closest('.cases');
      const shown = [...list.querySelectorAll('.case:not(.hidden)')].map(one => one.dataset.teacher);
      const wide = document.documentElement.scrollWidth <= window.innerWidth;
      document.body.textContent = JSON.stringify({names, shown, wide});
    </script></body>"""
    page = (tmp_path / "report.html").read_text(encoding="utf-8").replace("</body>", probe)
    (tmp_path / "probed.html").write_text(page, encoding="utf-8")
    done = subprocess.run([chromium, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,900",
                           f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"file://{tmp_path}/probed.html"],
                          capture_output=True, text=True, timeout=120)
    found = json.loads(re.search(r"<body>(.*)</body>", done.stdout, re.DOTALL).group(1))
    assert found["names"] == ["QuantBiLSTM", DISTILLED, ALONE, TEACHER]           # by latency
    assert found["shown"] and set(found["shown"]) == {"1"}
    assert found["wide"]                                                          # nothing sticks out sideways
