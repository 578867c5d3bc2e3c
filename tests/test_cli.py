"""The command line: what it prints, what it imports and with which code it exits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from paddleslim_bilstm import __version__, cli
from paddleslim_bilstm.errors import UserError


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "paddleslim_bilstm", *arguments], capture_output=True, text=True,
                          timeout=60, **options)


@pytest.fixture
def command(monkeypatch):
    """Put a command "test" with a ``run`` of the test's own beside the real ones."""
    def put(body, goes_on=True):
        module = types.ModuleType("paddleslim_bilstm.test_command")
        module.add_arguments = lambda parser: parser.add_argument("names", nargs="*")
        module.run = body
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(cli.COMMANDS, "test", cli.Command("Test", "test_command", goes_on))
    return put


def raising(error):
    def body(arguments):
        raise error
    return body


def test_version_and_help_without_paddle():
    assert run("--version").stdout == f"paddleslim-bilstm {__version__}\n"
    code = "import sys; from paddleslim_bilstm.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n" \
           "assert not {'paddle', 'paddleslim', 'paddlenlp'} & sys.modules.keys()"
    for arguments in (["--help"], ["compress", "--help"], ["predict", "--help"], ["evaluate", "--help"],
                      ["finetune", "--help"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "usage: paddleslim-bilstm" in done.stdout
    assert "compress configs/sst2.yaml" in run("compress", "--help").stdout


@pytest.mark.parametrize("arguments, part", [
    (["compress", "absent.yaml"], "error: absent.yaml: can't read"),
    (["compress", "run.yaml"], "error: run.yaml:2: bert_to_bilstm.alhpa: unknown key; did you mean alpha?"),
    (["compress", "good.yaml", "-o", "Global.seed=x"], "error: -o Global.seed=x: Global.seed: must be"),
])
def test_bad_input_is_one_line_and_exit_code_2_before_any_work(tmp_path, arguments, part):
    (tmp_path / "run.yaml").write_text("bert_to_bilstm:\n  alhpa: 1\n")
    (tmp_path / "good.yaml").write_text("bert_to_bilstm:\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = run(*arguments, cwd=tmp_path, env=environment)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(part) and done.stderr.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["good.yaml", "run.yaml"]


def test_wrong_usage_is_exit_code_2():
    assert run().returncode == 2
    done = run("comprss")
    assert done.returncode == 2 and "compress" in done.stderr


def test_the_commands_result_is_the_exit_code(command):
    command(lambda arguments: len(arguments.names))
    assert cli.main(["test", "a", "b", "c"]) == 3


def test_user_error_is_one_line(command, capsys):
    command(raising(UserError("two\nlines")))
    assert cli.main(["test"]) == 2
    assert capsys.readouterr().err == "error: two lines\n"


def test_what_the_system_refuses_is_one_line(capsys):
    assert cli.main(["predict", "x" * 5000]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: xxx") and error.endswith("student.json: File name too long\n")


def test_a_missing_package_is_named_with_its_extra(command, capsys):
    command(raising(ModuleNotFoundError("No module named 'paddle'", name="paddle")))
    assert cli.main(["test"]) == 2
    assert capsys.readouterr().err == 'error: paddle is not installed: pip install "paddleslim-bilstm[cpu]"\n'
    command(raising(ModuleNotFoundError("No module named 'ours'", name="ours")))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["test"])


@pytest.mark.parametrize(("error", "said"), [
    (ImportError("libgomp.so.1: cannot open shared object file: No such file or directory"), "a library of the system"),
    (MemoryError(), "the memory is full; lower"),
    (OSError(28, "No space left on device"), "No space left on device where this command writes; make room")])
def test_what_the_machine_lacks_is_one_line(error, said, command, capsys):
    command(raising(error))
    assert cli.main(["test"]) == 2
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line


def test_another_error_of_an_import_is_a_traceback(command):
    command(raising(ImportError("cannot import name 'x'")))
    with pytest.raises(ImportError):
        cli.main(["test"])


def test_the_schema_takes_no_overrides(capsys):
    assert cli.main(["config", "--schema", "-o", "Global.sed=1"]) == 2
    assert "leave out CONFIG and -o" in capsys.readouterr().err


@pytest.mark.parametrize("days", ["-1", "nan", "week"])
def test_days_below_zero_would_clear_the_whole_cache(days, tmp_path, capsys):
    entry = tmp_path / "teachers" / "teacher-1"
    entry.mkdir(parents=True)
    with pytest.raises(SystemExit):
        cli.main(["cache", "clear", "--cache-dir", str(tmp_path), f"--older-than={days}"])
    assert f"{days} isn't a number of days, 0 or more" in capsys.readouterr().err and entry.is_dir()


def test_what_cant_be_removed_from_the_cache_is_not_said_to_be(tmp_path, monkeypatch, capsys):
    from paddleslim_bilstm.commands import cache
    (tmp_path / "labels" / "mine").mkdir(parents=True)
    (tmp_path / "labels" / "theirs").mkdir()
    monkeypatch.setattr(cache, "remove", lambda path: path.rmdir() if path.name == "mine" else None)
    assert cli.main(["cache", "clear", "--cache-dir", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert "removed: 1 entries" in shown.out and "theirs: can't be removed" in shown.err


@pytest.fixture
def interruptible():
    """Ctrl-C as in a terminal; a job in the background may start with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_with_one_line_that_says_how_to_go_on(command, capsys, interruptible):
    command(lambda arguments: os.kill(os.getpid(), signal.SIGINT))
    assert cli.main(["test", "my file"]) == 130
    assert capsys.readouterr().err == "interrupted; this goes on: paddleslim-bilstm test 'my file'\n"
    command(lambda arguments: os.kill(os.getpid(), signal.SIGINT), goes_on=False)
    assert cli.main(["test"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_run_that_started_over_says_how_to_keep_what_it_has(monkeypatch, capsys):
    assert cli.main(["compress", "nowhere.yaml", "--fresh"]) == 2
    error = capsys.readouterr().err
    assert error.endswith("(what it has computed is kept: paddleslim-bilstm compress nowhere.yaml)\n")
    assert cli.main(["compress", "nowhere.yaml"]) == 2
    assert "is kept" not in capsys.readouterr().err


def test_a_reader_that_is_gone_is_no_success_of_a_long_run(command, monkeypatch):
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    for goes_on, code in ((True, 2), (False, 0)):
        command(raising(BrokenPipeError()), goes_on=goes_on)
        assert cli.main(["test"]) == code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cant_be_written_is_one_line_and_no_success(tmp_path):
    (tmp_path / "run.yaml").write_text("bert_to_bilstm: {}\n")
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "paddleslim_bilstm", "config", str(tmp_path / "run.yaml")]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=buffered, timeout=60)
    assert done.returncode == 2 and done.stderr.startswith("error: No space left on device") and \
        done.stderr.count("\n") == 1
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=buffered, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_are_printed_in_any_encoding(command, monkeypatch, capfd):
    monkeypatch.setattr(sys, "stdout", open(os.dup(1), "w", encoding="latin-1"))
    command(lambda arguments: print("\u597d caf\udce9") or 0)
    assert cli.main(["test"]) == 0 and capfd.readouterr().out == "\\u597d caf\\udce9\n"
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.main(["test"]) == 0
    command(raising(UserError("wrong")))
    assert cli.main(["test"]) == 2


def test_closed_standard_input_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert cli.main(["predict", "anywhere"]) == 2
    assert "standard input is closed" in capsys.readouterr().err


def test_overrides_may_be_given_together_or_apart():
    from paddleslim_bilstm.commands import compress as compress_command
    parser = cli._parser(["compress"])
    arguments = parser.parse_args(["compress", "a.yaml", "-o", "A.b=1", "A.c=2", "-o", "A.d=3"])
    assert arguments.run is compress_command.run
    assert arguments.override == ["A.b=1", "A.c=2", "A.d=3"]


def test_warnings_of_the_package_are_shown(tmp_path):
    code = "from paddleslim_bilstm import cli; import logging; cli._show_messages(); cli._show_messages()\n" \
           "logging.getLogger('paddleslim_bilstm.text').warning('odd %s', 1)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == "warning: odd 1\n"
