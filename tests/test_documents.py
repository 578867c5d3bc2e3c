"""README and docs: Python and YAML run as they stand there, imports included; commands, files and links exist.

Of the runs only sizes are changed: the YAML files that the pages name are made quick. A block behind a comment
``<!-- not run: reason -->`` is left out.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle
import pytest
import yaml
from reviews import write_reviews
from teachers import make_tiny_teacher

from paddleslim_bilstm import cli
from paddleslim_bilstm.config import load_config
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.pipeline import prepare
from paddleslim_bilstm.task import TASKS
from paddleslim_bilstm.text import load_dataset

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").glob("*.md"))]
READMES, DEVELOPMENT = PAGES[:2], ROOT / "docs" / "development.md"
_BLOCK = re.compile(r"(<!-- not run: [^\n]+ -->\n)?^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
QUICK = {"bert_to_bilstm": {"student": {"embed_dim": 8, "hidden_size": 8}, "train_alone": False},
         "DataAugmentation": {"n_iter": 1}, "TrainConfig": {"epochs": 1}, "QuantBiLSTM": {"max_accuracy_drop": 1}}
SHORT = {"max_seq_length": 64}  # all that the tiny teacher takes


class Block(NamedTuple):
    page: Path
    language: str
    code: str
    line: int

    @property
    def name(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(language: str, pages=PAGES) -> list[Block]:
    found = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        found += [Block(page, match[2], match[3], text[:match.start(3)].count("\n") + 1)
                  for match in _BLOCK.finditer(text) if match[2] == language and not match[1]]
    return found


def distinct(found: list[Block]) -> list[Block]:
    """Leave out what differs from an earlier block in nothing but comments, such as the Chinese README's code."""
    return list({uncommented(block): block for block in reversed(found)}.values())[::-1]


def uncommented(block: Block) -> str:
    return re.sub(r"\s*#.*", "", block.code)


def named(block: Block) -> Any:
    return pytest.param(block, id=block.name)


def main_yaml(page: Path) -> dict[str, Any]:
    """Return the README's sst2.yaml."""
    return yaml.safe_load(next(block.code for block in blocks("yaml", [page]) if "Global:" in block.code))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """The folder, and for the whole module the working folder, that holds what the pages name."""
    folder = tmp_path_factory.mktemp("documents")
    sections = {**main_yaml(READMES[0]), **QUICK}
    sections["Global"].update(SHORT)
    (folder / "sst2.yaml").write_text(yaml.safe_dump(sections), encoding="utf-8")
    (folder / "student.yaml").write_text(yaml.safe_dump({**QUICK, "Global": {"seed": 1}}), encoding="utf-8")
    (folder / "configs").symlink_to(ROOT / "configs")
    make_tiny_teacher(folder / "teachers" / "minilm-sst2", "huggingface")  # as the one that the pages mean
    write_reviews(folder / "data" / "sst2", train=70, dev=30)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PADDLESLIM_BILSTM_CACHE", str(folder / "cache"))
        yield folder
    paddle.enable_static()


@pytest.fixture(scope="module")
def distilled(workplace) -> tuple[dict[str, Any], str]:
    """What README's compress() leaves: output/sst2, which other blocks read."""
    return run(*[block for block in blocks("python", READMES[:1]) if "import compress" in block.code])


def run(block: Block) -> tuple[dict[str, Any], str]:
    """Run a block as a script of its own would run: return the names that it left, and what it printed."""
    names: dict[str, Any] = {"__name__": "__main__"}
    script = Path(f"{block.page.stem}_{block.line}.py").absolute()  # Paddle reads a layer's source
    script.write_text(block.code, encoding="utf-8")
    paddle.disable_static()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(block.code, str(script), "exec"), names)
    return names, printed.getvalue()


ELSEWHERE = ('Path("texts")', "teacher=teacher")  # in blocks that need what `augment` writes


@pytest.mark.parametrize("block", [named(block) for block in distinct(blocks("python"))
                                   if block.page != DEVELOPMENT and not any(one in block.code for one in ELSEWHERE)])
def test_python_runs_as_it_stands(block, distilled, workplace):
    names, printed = distilled if "import compress" in block.code else run(block)
    if "import compress" in block.code:
        assert "distilled" in printed and printed.endswith(f"{names['result'].save_dir}\n")
    if "AutoCompression(" in block.code:
        assert (workplace / "out" / "model.pdmodel").is_file()
    if "Predictor(" in block.code:
        assert len(printed.splitlines()) == 2
    if "create_predictor" in block.code:
        assert names["logits"].shape == (2, 2)
    if "Trainer(" in block.code:
        assert "distilled" in printed and (workplace / "trained" / "bert_to_bilstm" / "model.onnx").is_file()
    if "BiLSTMClassifier" in block.code:
        assert (workplace / "output" / "trained-on" / "student.json").is_file()


def test_labels_from_elsewhere_as_the_guide_has_them(distilled, workplace, capsys):
    code, = [block for block in blocks("yaml") if block.code.startswith("# elsewhere.yaml")]
    sections = {**yaml.safe_load(code.code), **QUICK}
    sections["Global"].update(SHORT)
    (workplace / "elsewhere.yaml").write_text(yaml.safe_dump(sections), encoding="utf-8")
    label, function = [block for block in blocks("python") if any(one in block.code for one in ELSEWHERE)]
    commands = [line for block in blocks("bash") for line in block.code.splitlines() if "elsewhere.yaml" in line]
    for step in (commands[0], label, commands[1]):
        if isinstance(step, Block):
            run(step)
        else:
            assert cli.main(shlex.split(step, comments=True)[1:]) == 0, capsys.readouterr().err
    assert "distilled" in capsys.readouterr().out and (workplace / "output/elsewhere/tokenizer.json").is_file()
    assert "distilled" in run(function)[1]


def test_something_of_each_kind_is_run():
    code = "".join(block.code for block in blocks("python"))
    for name in ("import compress", "AutoCompression(", "Predictor(", "create_predictor", "Trainer(",
                 "BiLSTMClassifier", "augmentation_hook", "distillation_loss", "student_encoder"):
        assert name in code


@pytest.mark.parametrize("block", [named(block) for block in distinct(blocks("yaml"))
                                   if block.page != DEVELOPMENT])
def test_yaml_is_checked_as_before_a_run(block, workplace):
    """PaddleSlim's strategies in it are rehearsed on a tiny student."""
    sections = yaml.safe_load(block.code)
    assert load_config(sections)
    teacher = {} if "teacher_labels" in sections.get("Global", {}) else {"model_dir": "teachers/minilm-sst2"}
    sections["Global"] = {**teacher, **sections.get("Global", {}), "save_dir": "checked"}
    prepare(sections)


def test_the_plugins_of_the_development_page_run_from_the_command_line(workplace, capsys):
    """Hook, loss and encoder in their files, and a teacher that the page exports."""
    for block in blocks("python", [DEVELOPMENT]) + blocks("yaml", [DEVELOPMENT]):
        file = re.match(r"# (\w+\.(?:py|yaml))\n", block.code)
        if file:
            (workplace / file[1]).write_text(block.code, encoding="utf-8")
        else:
            run(block)
    command, = [line for block in blocks("bash", [DEVELOPMENT]) for line in block.code.splitlines() if "mine" in line]
    sizes = {"DataAugmentation.n_iter": 1, "TrainConfig.epochs": 1, "bert_to_bilstm.train_alone": "false",
             "bert_to_bilstm.student.embed_dim": 8, "bert_to_bilstm.student.hidden_size": 8,
             "QuantBiLSTM.max_accuracy_drop": 1}
    arguments = shlex.split(command)[1:]
    assert cli.main([*arguments, "-o", *(f"{key}={value}" for key, value in sizes.items())]) == 0, capsys.readouterr()
    assert "distilled" in capsys.readouterr().out

    from paddleslim_bilstm import BiLSTMClassifier, Predictor
    paddle.disable_static()
    layer = BiLSTMClassifier.from_pretrained("output/mine")
    layer.eval()
    predictor = Predictor("output/mine", "onnx")
    tokens = predictor._tokenizer.encode(["the film is good .", "dull"])
    ids = predictor._framing.batch(tokens, np.arange(2))[0]
    np.testing.assert_allclose(layer(paddle.to_tensor(ids)).numpy(),
                               predictor.logits(["the film is good .", "dull"]), atol=1e-4)
    assert layer.spec.encoder == "mean" and [feed.role for feed in layer.spec.feeds] == ["ids", "mask"]
    assert Predictor("output/mine").runtime == "onnx-int8"


def test_the_task_of_the_development_page_is_a_plugin(workplace, monkeypatch):
    block, = [block for block in blocks("python", [DEVELOPMENT]) if "TASKS[" in block.code]
    (workplace / "my_task.py").write_text(block.code, encoding="utf-8")
    monkeypatch.setitem(TASKS, "stars", None)  # gone again after the test
    config = load_config({"Global": {"task": "stars", "plugins": ["my_task"]}, "bert_to_bilstm": {}})
    assert config.global_.chosen_metric == "right"
    rows, task = [("a room", 4), ("nothing", "1"), ("all", 5.0)], TASKS["stars"]
    labels = load_dataset(config.global_, 1, None, train=rows, dev=rows).train_labels
    assert labels.tolist() == [4, 1, 5]
    logits = np.array([[3.2], [-2], [9]], np.float32)
    assert [task.score_logits(name, labels, logits) for name in ("right", "near")] == pytest.approx([2 / 3, 1])
    assert task.predictions(logits, ("stars",))[0].as_json(()) == {"stars": 3}
    with pytest.raises(UserError, match=r"train\[0\]: the label is 6; it must be 1 to 5 stars"):
        load_dataset(config.global_, 1, None, train=[("a", 6)], dev=rows)
    with paddle.base.dygraph.guard():
        loss = task.hard_loss(*map(paddle.to_tensor, (logits, task.with_unlabelled(labels[:2], 1))))
        assert float(loss) == pytest.approx((0.8 ** 2 + 9) / 2, rel=1e-5)


def commands() -> list[Any]:
    """Every command of the pages' bash, on one line, without its comment."""
    found = []
    for block in blocks("bash"):
        for line in block.code.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                found.append(pytest.param(words, id=f"{block.page.name}: {' '.join(words)[:60]}"))
    return found


@pytest.mark.parametrize("words", commands())
def test_commands_and_their_options_exist(words, workplace):
    if words[:3] == ["python", "-m", "paddle.distributed.launch"]:
        words = ["paddleslim-bilstm", *words[words.index("paddleslim-bilstm)") + 1:]]
    program, *arguments = words[:words.index(">")] if ">" in words else words
    if program == "paddleslim-bilstm":
        parsed = cli._parser(arguments).parse_args(arguments)
        if getattr(parsed, "config", None):
            file = parsed.config if Path(parsed.config).is_file() else "sst2.yaml"
            assert file == parsed.config or parsed.config in ("mine.yaml", "elsewhere.yaml")
            assert load_config(file, parsed.override)
    elif program == "python":
        script = ROOT / arguments[0]
        files = script.glob("*.py") if script.is_dir() else [script]
        text = "".join(file.read_text(encoding="utf-8") for file in files)
        assert all(f'"{word}"' in text for word in arguments if word.startswith("--"))
    elif program == "pip":
        setup = (ROOT / "setup.py").read_text(encoding="utf-8")
        found = [re.match(r"(?:\.|paddleslim-bilstm)\[([\w,]+)]", word) for word in arguments]
        ours = [match.group(1) for match in found if match]
        assert all(f'"{extra}"' in setup for extras in ours for extra in extras.split(","))
    else:
        assert (ROOT / program).is_file() or program in ("pytest", "ruff", "optimum-cli", "visualdl")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_exist(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = page if not path else (page.parent / path).resolve()
        assert file.is_file(), target
        if anchor:
            assert anchor in anchors(file), target
    for name in re.findall(r"`((?:configs|benchmarks|tests)/[\w./]+)`", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"`(\w+/(?:\w+/)*(?:\w+\.py)?)`", text) if page == DEVELOPMENT else ():
        assert (ROOT / "paddleslim_bilstm" / name).exists() or (ROOT / name).exists(), name


def anchors(file: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readmes_are_short_and_tell_the_same():
    texts = [page.read_text(encoding="utf-8") for page in READMES]
    assert all(text.count("\n") <= 150 for text in texts)
    numbers = [[line for line in text.splitlines() if re.match(r"\|.*\d.*\|\s*$", line)] for text in texts]
    figures = [[re.findall(r"\d[\d.]*", line.split("|", 2)[2]) for line in lines] for lines in numbers]
    assert figures[0] == figures[1] and len(figures[0]) >= 5
    code = [[uncommented(block) for language in ("python", "yaml", "bash")
             for block in blocks(language, [page])] for page in READMES]
    assert code[0] == code[1]
    assert all("<!-- test command -->\n```bash\n" in text and "./quickstart.sh" in text for text in texts)
