"""Progress: a bar on a terminal, a few plain lines in a log file."""

import io
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tqdm import tqdm

from paddleslim_bilstm import cli
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.progress import ProgressLines, progress_bar, quiet_libraries


class Clock:
    """A clock that stands still until it is told."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def lines_of(clock, steps, seconds_each, found=0):
    """Run a stage of as many steps of 10 sentences and return the lines that it printed."""
    stream = io.StringIO()
    with ProgressLines("labelling", 10 * steps, "sentences", stream, clock) as progress:
        for step in range(steps):
            if step >= found:
                clock.now += seconds_each
            progress.update(10)
            if step < found:
                progress.initial += 10
    return stream.getvalue().splitlines()


def test_a_long_stage_prints_a_line_every_30_seconds_and_one_at_the_end(clock):
    assert lines_of(clock, 1000, 0.07) == ["labelling: 4,290 of 10,000 sentences, 143/s, 40 s left",
                                           "labelling: 8,580 of 10,000 sentences, 143/s, 10 s left",
                                           "labelling: 10,000 of 10,000 sentences, 143/s, took 1 min 10 s"]


def test_a_fast_stage_has_its_rate_in_whole_numbers(clock):
    assert lines_of(clock, 10_000, 0.0004)[-1] == "labelling: 100,000 of 100,000 sentences, 25,000/s, took 4 s"


def test_hours_are_told_as_hours(clock):
    lines = lines_of(clock, 1000, 10)
    assert len(lines) == 334 and lines[0].endswith("30 of 10,000 sentences, 1.0/s, 2 h 46 min left")


def test_a_stage_of_less_than_a_second_prints_nothing(clock):
    assert lines_of(clock, 9, 0.1) == []


def test_what_was_found_in_the_cache_does_not_count_in_the_rate(clock):
    assert lines_of(clock, 1000, 0.07, found=500)[0] == "labelling: 9,290 of 10,000 sentences, 143/s, 5 s left"


def test_the_lines_show_what_the_stage_tells_and_where_it_broke_off(clock):
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), ProgressLines("distil", 100, "sentences", stream, clock) as progress:
        progress.set_postfix(loss="0.0123", metric=0.87654, best=None, refresh=False)
        clock.now += 2
        progress.update(50)
        raise KeyboardInterrupt
    assert stream.getvalue() == "distil: 50 of 100 sentences, 25/s, took 2 s, loss=0.0123 metric=0.877 best=None\n"


def test_work_outlives_whoever_read_its_progress():
    class Gone:
        def write(self, _):
            raise BrokenPipeError

        flush = None
    times = iter(range(0, 10_000, 100))
    with ProgressLines("distil", 100, "sentences", Gone(), lambda: next(times)) as progress:
        for _ in range(3):
            progress.update(10)


@pytest.mark.parametrize("terminal, kind", [(True, tqdm), (False, ProgressLines)])
def test_a_terminal_gets_a_bar_and_a_file_gets_lines(monkeypatch, terminal, kind):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar("distil", 10, "sentences") as progress:
        progress.update(10)
        progress.set_postfix(loss="0.1", refresh=False)
        progress.initial += 1
    assert isinstance(progress, kind)


def _chatty(name):
    """A library's logger, as PaddleSlim and Paddle make theirs: with a handler for the screen, and no root."""
    logger = logging.getLogger(name)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s-%(levelname)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


def test_what_libraries_say_goes_to_the_log_but_errors_are_shown(tmp_path, capsys):
    with quiet_libraries(tmp_path / "run.log"):
        library = _chatty("test_quiet.other")
        library.info("Selected strategies: ['quant_post']")
        library.error("could not quantize")
        print("Adding quant op with weight")
        with tqdm(range(3), desc="Sampling stage") as bar:
            list(bar)
        logging.getLogger("paddleslim_bilstm.stages").warning("a warning of ours")
        with progress_bar("labelling", 10, "sentences") as progress:
            progress._started -= 60
            progress.update(10)
    shown, log = capsys.readouterr(), (tmp_path / "run.log").read_text(encoding="utf-8")
    assert shown.out == "" and "ERROR: could not quantize" in shown.err and "labelling: 10 of 10" in shown.err
    assert not any(said in shown.err for said in ("Selected", "Adding", "Sampling"))
    assert all(said in log for said in ("Selected", "could not quantize", "Adding", "Sampling", "a warning of ours"))
    library.info("after the run")                      # its handler has outlived the log
    assert "after the run" in capsys.readouterr().err and sys.stderr is not None


def test_a_second_run_writes_behind_the_first_and_verbose_writes_none(tmp_path, capsys):
    for said in ("one", "two"):
        with quiet_libraries(tmp_path / "run.log"):
            print(said)
    assert (tmp_path / "run.log").read_text(encoding="utf-8").splitlines() == ["one", "two"]
    with quiet_libraries(None):
        print("three")
    assert capsys.readouterr().out == "three\n"


@pytest.mark.parametrize("error, told", [(ValueError("odd"), True), (UserError("data.tsv:1: odd"), False)])
def test_a_run_that_fails_names_the_log_unless_the_reason_is_the_users(tmp_path, capsys, error, told):
    with pytest.raises(type(error)), quiet_libraries(tmp_path / "run.log"):
        raise error
    assert (str(tmp_path / "run.log") in capsys.readouterr().err) == told


@pytest.mark.parametrize("options, shown", [([], False), (["-v"], True)])
def test_the_commands_are_quiet_unless_they_are_told_to_be_verbose(tmp_path, monkeypatch, capsys, options, shown):
    def compress(*_, **__):
        print("PaddleSlim talks")
        return SimpleNamespace(table="the table", report=SimpleNamespace(headline="so good"), save_dir=tmp_path / "out")

    monkeypatch.setattr("paddleslim_bilstm.pipeline.compress", compress)
    (tmp_path / "mine.yaml").write_text(f"Global: {{save_dir: {tmp_path / 'out'}}}\nbert_to_bilstm: {{}}\n")
    assert cli.main(["compress", str(tmp_path / "mine.yaml"), *options]) == 0
    out = capsys.readouterr().out
    assert ("PaddleSlim talks" in out) == shown and "the table" in out and "report.html" in out
    log = Path(tmp_path / "out" / "run.log")
    assert log.is_file() != shown and (shown or "PaddleSlim talks" in log.read_text(encoding="utf-8"))


def test_a_teachers_folder_that_is_named_as_save_dir_gets_no_log(tmp_path, monkeypatch):
    monkeypatch.setattr("paddleslim_bilstm.pipeline.compress", lambda *_, **__: 1 / 0)
    (tmp_path / "mine.yaml").write_text(f"Global: {{save_dir: {tmp_path}, model_dir: {tmp_path}}}\n"
                                        "bert_to_bilstm: {}\n")
    with pytest.raises(ZeroDivisionError):
        cli.main(["compress", str(tmp_path / "mine.yaml")])
    assert [file.name for file in tmp_path.iterdir()] == ["mine.yaml"]
