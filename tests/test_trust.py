"""Files that appear whole or not at all, and caches that tell when they are damaged."""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import shutil
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from safetensors import safe_open

from paddleslim_bilstm import storage
from paddleslim_bilstm.errors import UserError
from paddleslim_bilstm.export.inference_file import ends_whole
from paddleslim_bilstm.export.paddle_model import export_paddle_model
from paddleslim_bilstm.run import RunFolder
from paddleslim_bilstm.storage import (
    Need,
    check_folder,
    check_room,
    checksum,
    explained_write_errors,
    read_sealed_json,
    remove_leftovers,
    seal_folder,
    whole_file,
    whole_folder,
    write_arrays,
    write_sealed_json,
)
from paddleslim_bilstm.student.checkpoint import Progress, load_checkpoint, save_checkpoint
from paddleslim_bilstm.student.spec import StudentSpec
from paddleslim_bilstm.student.weights import first_weights
from paddleslim_bilstm.teacher.text import TrainingText
from paddleslim_bilstm.text.rows import Rows


def flipped(content: bytes, position: int) -> bytes:
    altered = bytearray(content)
    altered[position] ^= 0x04
    return bytes(altered)


@contextmanager
def largest_file(size: int):
    """No file of this process may grow beyond ``size`` bytes: for its writer it is as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError), largest_file(1000), whole_file(path) as partial:
        partial.write_bytes(bytes(2000))
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_a_failed_folder_leaves_the_old_one_and_a_new_one_takes_its_place(tmp_path):
    folder = tmp_path / "folder"
    for text in ("old", "new"):
        with whole_folder(folder) as partial:
            (partial / text).write_text(text)
    with pytest.raises(ValueError), whole_folder(folder) as partial:
        raise ValueError
    assert os.listdir(folder) == ["new"] and os.listdir(tmp_path) == ["folder"]


def test_a_disk_whose_folders_cant_be_synced_will_do(tmp_path, monkeypatch):
    sync, refused = os.fsync, []

    def of_files_alone(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            refused.append(descriptor)
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", of_files_alone)
    with whole_file(tmp_path / "file") as partial:
        partial.write_text("new")
    assert (tmp_path / "file").read_text() == "new" and refused


def test_leftovers_of_dead_processes_are_removed_and_those_of_living_ones_kept(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    numbers = (dead.pid, os.getppid(), os.getpid())  # this one's of another process that had its number
    names = {number: f".file.{storage._MACHINE}-{number}-0a1b.partial" for number in numbers}
    for name in names.values():
        (tmp_path / name).mkdir()
        (tmp_path / name / "inside").write_text("half")
    for name, age in ((".file.otherhost-1-2-0a1b.partial", 0), (".old.otherhost-1-2-0a1b.partial", 8 * 24 * 3600)):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    with whole_file(tmp_path / "own") as partial:
        partial.write_text("half")
        remove_leftovers(tmp_path)
        assert sorted(os.listdir(tmp_path)) == sorted([names[os.getppid()], ".file.otherhost-1-2-0a1b.partial",
                                                       partial.name])


def test_leftovers_are_looked_for_where_another_run_takes_a_folder_away(tmp_path, monkeypatch):
    for name in ("goes", "stays"):
        (tmp_path / name).mkdir()
    other = tmp_path / "stays" / ".a.elsewhere-1-ab.partial"
    other.write_text("")
    os.utime(other, (0, 0))

    def scandir(place, scan=os.scandir):
        if Path(place).name == "goes":
            raise FileNotFoundError(place)
        return scan(place)
    monkeypatch.setattr(os, "scandir", scandir)
    remove_leftovers(tmp_path)
    assert not other.exists()


def test_fresh_labels_join_those_that_another_run_is_writing(tmp_path):
    own, cache = tmp_path / "own", tmp_path / "cache"
    for folder, name in ((own, "logits.npy"), (cache, ".logits.npy.partial"), (cache, "chunk-0.bin")):
        (folder / "labels" / "key").mkdir(parents=True, exist_ok=True)
        (folder / "labels" / "key" / name).write_text(folder.name)
    RunFolder._cache_what_is_fresh(SimpleNamespace(_own_cache=own, cache_dir=cache))
    assert {file.name: file.read_text() for file in (cache / "labels" / "key").iterdir()} == {
        "logits.npy": "own", ".logits.npy.partial": "cache", "chunk-0.bin": "cache"}
    assert not own.exists()


def test_arrays_are_written_as_safetensors(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::2], "b": np.array(7), "c": np.zeros((0, 3), "i1"),
              "d": np.array([True, False]), "e.f": np.arange(3, dtype=np.int32)}
    write_arrays(tmp_path / "file", arrays, {"fact": "one"})
    write_arrays(tmp_path / "again", dict(reversed(arrays.items())), {"fact": "one"})
    assert (tmp_path / "again").read_bytes() == (tmp_path / "file").read_bytes()
    with safe_open(tmp_path / "file", "numpy") as file:
        assert file.metadata() == {"fact": "one"}
        for name, array in arrays.items():
            np.testing.assert_array_equal(file.get_tensor(name), array)
            assert file.get_tensor(name).dtype == array.dtype
    with pytest.raises(OSError), largest_file(100):
        write_arrays(tmp_path / "full", {"a": np.zeros(1000)}, {})


def test_every_flipped_byte_and_every_cut_of_a_sealed_json_is_found(tmp_path):
    path = tmp_path / "value.json"
    value = {"precision": "bf16", "check": {"agreement": 0.9985, "sentences": 2000}}
    write_sealed_json(path, value)
    assert read_sealed_json(path) == value
    content = path.read_bytes()
    for position in range(len(content)):
        for bad in (flipped(content, position), content[:position]):
            path.write_bytes(bad)
            try:
                assert read_sealed_json(path) == value and position == len(content) - 1  # but for the last line's end
            except ValueError as error:
                assert "value.json is damaged" in str(error)


def test_a_sealed_folder_knows_each_of_its_files(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    seal_folder(tmp_path)
    check_folder(tmp_path)
    (tmp_path / "two").write_text("twp")
    with pytest.raises(ValueError, match="two is damaged"):
        check_folder(tmp_path)
    (tmp_path / "two").unlink()
    with pytest.raises(FileNotFoundError):
        check_folder(tmp_path)


def test_every_flipped_byte_and_every_cut_of_a_checkpoint_is_found(tmp_path, caplog):
    path = tmp_path / "student.safetensors"
    state = {"weight": np.arange(12, dtype=np.float32).reshape(3, 4), "step": np.array([7], np.int64)}
    save_checkpoint(path, Progress(step=7, best_metric=0.5, evaluations=[[7, 0.5]]), state, {"weight": state["weight"]})
    progress, loaded, best = load_checkpoint(path)
    assert progress.step == 7 and progress.evaluations == [[7, 0.5]]
    np.testing.assert_array_equal(loaded["weight"], state["weight"])
    np.testing.assert_array_equal(best["weight"], state["weight"])
    content = path.read_bytes()
    for position in range(len(content)):
        for bad in (flipped(content, position), content[:position]):
            path.write_bytes(bad)
            caplog.clear()
            assert load_checkpoint(path) is None, position
            assert f"{path} is damaged; its training starts over" in caplog.text


def test_a_full_disk_is_noticed_when_an_inference_model_is_written(tmp_path):
    paddle.enable_static()
    spec = StudentSpec(32, 32, 1, ("a", "b"), 0, 32)
    weights = first_weights(spec, np.arange(100, dtype=np.int32), None, np.random.default_rng(0))
    with pytest.raises(OSError), largest_file(40_000):
        export_paddle_model(tmp_path, spec, weights)


def test_an_inference_model_holds_nothing_of_the_machine(tmp_path):
    paddle.enable_static()
    spec = StudentSpec(8, 8, 1, ("a", "b"), 0, 32)
    prefix = export_paddle_model(tmp_path, spec, first_weights(spec, np.arange(9, dtype=np.int32), None,
                                                               np.random.default_rng(0)))
    content = prefix.with_suffix(".pdmodel").read_bytes()
    assert b".py" not in content and str(tmp_path).encode() not in content


def test_fingerprints_change_with_contents(tmp_path):
    file = tmp_path / "file"
    file.write_text("a")
    parts = [np.arange(3), "text", {"key": 1}, file]
    first = checksum(*parts)
    assert checksum(*parts) == first
    assert checksum(np.arange(3, dtype=np.int32), *parts[1:]) != first
    file.write_text("b")
    assert checksum(*parts) != first


def test_a_damaged_copy_of_the_teacher_is_made_again(tiny_teacher, tmp_path, caplog):
    from paddleslim_bilstm.teacher import load_teacher
    source = tiny_teacher("exported")
    copy = load_teacher(source, tmp_path / "cache").prefix.parent
    sound = {path.name: path.read_bytes() for path in copy.iterdir()}
    assert set(sound) == {"model.pdmodel", "model.pdiparams", "hints.pdmodel", "checksums.json"}
    for name, content in sound.items():
        for bad in (flipped(content, len(content) // 2), content[:-3]):
            (copy / name).write_bytes(bad)
            with caplog.at_level(logging.WARNING):
                load_teacher(source, tmp_path / "cache")
            assert f"{copy}: not a sound copy of the teacher ({name} is damaged); it is made again" in caplog.text
            caplog.clear()
            assert {path.name: path.read_bytes() for path in copy.iterdir()} == sound
    (copy / "model.pdmodel").unlink()
    load_teacher(source, tmp_path / "cache")
    assert json.loads((copy / "checksums.json").read_text()).keys() == {"model.pdmodel", "model.pdiparams",
                                                                       "hints.pdmodel", "checksum"}


def test_room_is_asked_for_before_the_work_and_named_when_it_lacks(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    need = [Need(tmp_path, free // 3, "Global.cache_dir"), Need(tmp_path, free // 3, "Global.save_dir")]
    check_room("labelling", need)
    with pytest.raises(UserError, match="labelling needs .*Global.cache_dir.*Global.save_dir"):
        check_room("labelling", [*need, Need(tmp_path, free, "Global.save_dir")])


@pytest.mark.parametrize("number, text", [(errno.ENOSPC, "no room is left on this disk"),
                                          (errno.EFBIG, "no room is left on this disk"),
                                          (errno.EACCES, "Permission denied; restore access"),
                                          (errno.EROFS, "Read-only file system; restore access")])
def test_write_errors_become_one_line_that_says_how_to_go_on(tmp_path, number, text):
    with pytest.raises(UserError, match=text) as raised, explained_write_errors(tmp_path):
        raise OSError(number, os.strerror(number), str(tmp_path / "file"))
    assert str(tmp_path) in str(raised.value) and "the same command again: it goes on" in str(raised.value)


def test_a_full_disk_that_has_room_is_not_named(tmp_path):
    with pytest.raises(UserError, match="elsewhere: no room is left on this disk, or for this user; make"), \
            explained_write_errors(tmp_path):
        raise OSError(errno.ENOSPC, "full", "elsewhere")


def test_other_errors_stay_what_they_are(tmp_path):
    for error in (ValueError("odd"), OSError(errno.EIO, "broken"), UserError("wrong")):
        with pytest.raises(type(error), match=str(error).replace("[", r"\[")), explained_write_errors(tmp_path):
            raise error


def test_sentences_are_traced_to_their_lines():
    rows = Rows("train.tsv", ["a", "b", "c"], places=[2, 4, 5]), Rows("unlabeled", ["d"], places=[0], from_list=True)
    text = TrainingText(None, None, None, None, None, (), {}, rows=rows)
    assert text.where(np.array([1, 0, 1, 3])) == "train.tsv:2,4, unlabeled[0]"
    many = Rows("train.tsv", ["a"] * 100, places=list(range(2, 102)))
    assert TrainingText(None, None, None, None, None, (), {}, rows=(many,)).where(np.arange(100)).endswith(
        ",65 and 36 more")


def test_every_cut_of_a_parameter_file_is_found(tmp_path):
    paddle.enable_static()
    spec = StudentSpec(4, 4, 1, ("a", "b"), 0, 32)
    prefix = export_paddle_model(tmp_path, spec, first_weights(spec, np.arange(9, dtype=np.int32), None,
                                                               np.random.default_rng(0)))
    file = prefix.with_suffix(".pdiparams")
    content = file.read_bytes()
    assert ends_whole(file)
    whole = 0
    for size in range(len(content)):
        file.write_bytes(content[:size])
        whole += ends_whole(file)
    assert whole == 14  # nothing, and between two parameters: there Paddle misses the second itself
