"""The fault harness: runs that are killed, starved, locked out and lied to must end like one that was left alone.

    python tests/faults.py            # the long version: 100 kills and all other faults
    python tests/faults.py --short    # as the tests run it

A tiny teacher and corpus go through all stages (augment, label, Bi-LSTM alone, distil, QuantPost, QuantBiLSTM). Each
fault is followed by the same command until that is done; then the transfer set, the teacher's logits, the students and
the published files must be those of the undisturbed run, to the byte (QuantPost's program: to the order of its
operators, which PaddleSlim leaves to chance). It prints what it has done as JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import numpy as np
from forked_runs import Run, prepare, program_lines, start
from reviews import write_reviews

from paddleslim_bilstm import stages
from paddleslim_bilstm.run import CARD_FILE, WORK_FOLDER
from paddleslim_bilstm.student import recipe

STAGES = ("load teacher", "read text", "check teacher", "augment", "start student", "label", "train alone", "distil",
          "export", "chain", "onnx", "measure", "compare", "examples", "verify", "publish")
CACHED = ("transfer_sets", "labels", "students", "teachers")
GROWTH_BYTES = 16 << 10
CONFIG = {"Global": {"max_seq_length": 64},
          "bert_to_bilstm": {"student": {"embed_dim": 16, "hidden_size": 16}, "batch_size": 32},
          "DataAugmentation": {"n_iter": 3}, "TrainConfig": {"epochs": 2, "eval_iter": 5},
          "QuantPost": {"batch_nums": 2}, "QuantBiLSTM": {"max_accuracy_drop": 0.2}}


class Place:
    """Folders of one story: ``out``, ``cache``, and logs."""

    def __init__(self, root: Path, source: Path):
        self.root, self._source, self._count = root, source, 0
        self.out, self.cache = root / "out", root / "cache"
        root.mkdir(parents=True, exist_ok=True)

    def run(self, *arguments: str, before=None, out: Path | None = None) -> Run:
        """Start the run of the story; its log is kept beside the source."""
        self._count += 1
        log = self._source / "logs" / f"{self.root.name}-{self._count}.log"
        log.parent.mkdir(exist_ok=True)
        overrides = [f"Global.save_dir={out or self.out}", f"Global.cache_dir={self.cache}"]
        return start([str(self._source / "run.json"), "-o", *overrides, *arguments], log, before)

    def results(self) -> dict[str, str]:
        """Return the checksum of each cached and published file, but for report, log and card, which hold times."""
        files = {f"cache/{path.relative_to(self.cache)}": path
                 for kind in CACHED for path in (self.cache / kind).rglob("*")}
        files.update({f"out/{path.relative_to(self.out)}": path for path in self.out.rglob("*")
                      if not path.name.startswith(("report.", "run.log", CARD_FILE))})
        return {name: hashlib.sha256(_content(path)).hexdigest() for name, path in files.items() if path.is_file()}


def _content(path: Path) -> bytes:
    """Return what a file holds; of a program, its lines sorted: PaddleSlim's QuantPost has no order of its own."""
    content = path.read_bytes()
    if path.suffix == ".pdmodel" and "QuantPost" in path.parts and WORK_FOLDER not in path.parts:
        return "\n".join(sorted(program_lines(content))).encode()
    return content


class Harness:
    """The undisturbed run, and stories that must end like it."""

    def __init__(self, root: Path, seed: int):
        self.source, self.rng, self.counts = root, np.random.default_rng(seed), Counter()
        self.kills: Counter[str] = Counter()
        self._places = 0
        write_reviews(root / "data")
        config = {**CONFIG, "Global": {**CONFIG["Global"], "model_dir": str(root / "teacher"),
                                       "train_file": str(root / "data" / "train.tsv"),
                                       "dev_file": str(root / "data" / "dev.tsv")}}
        (root / "run.json").write_text(json.dumps(config))  # JSON is YAML
        make = "import sys, pathlib, teachers; teachers.make_tiny_teacher(pathlib.Path(sys.argv[1]), 'huggingface')"
        subprocess.run([sys.executable, "-c", make, str(root / "teacher")], check=True, cwd=Path(__file__).parent,
                       capture_output=True)
        self.reference = self.place("reference")
        run = self.reference.run()
        self._expect(run.wait() == 0, run, "the undisturbed run fails")
        begun = dict(run.stages)
        self._expect(tuple(begun) == STAGES, run, f"other stages: {tuple(begun)}")
        ends = [*list(begun.values())[1:], time.monotonic()]
        self.seconds = {name: end - begin for (name, begin), end in zip(begun.items(), ends)}
        self.results = self.reference.results()

    def place(self, name: str, root: Path | None = None) -> Place:
        self._places += 1
        return Place((root or self.source) / f"{name}-{self._places}", self.source)

    def kill(self, count: int, stages: tuple[str, ...] = STAGES) -> None:
        """Kill runs at random moments: in one story, once in each stage on the way, then let it end."""
        while sum(self.kills.values()) < count:
            place = self.place("kill")
            for stage in stages:
                if sum(self.kills.values()) >= count:
                    break
                run = place.run()
                if run.follow(600, until=stage) and run.follow(self.rng.uniform(0, self.seconds[stage])):
                    run.kill()
                if run.code != -signal.SIGKILL:
                    self._expect(run.code == 0, run, f"killed run in {stage} ended with {run.code}")
                    break
                self.kills[run.stages[-1][0]] += 1
                self._expect_nothing_or_all(place, run)
            self._finish(place)
            self.counts["stories of kills"] += 1
            self._forget(place)

    def end_by_signal(self) -> None:
        """SIGINT and SIGTERM end a run with its exit code and the command that goes on."""
        place = self.place("signal")
        for number, code, stage in ((signal.SIGINT, 130, "label"), (signal.SIGTERM, 143, "distil")):
            run = place.run("--fresh")
            run.follow(600, until=stage)
            run.follow(self.seconds[stage] / 2)
            run.kill(number)
            self._expect(run.wait() == code and "interrupted; this goes on: paddleslim-bilstm compress" in run.text()
                         and "--fresh" not in run.text() and "Traceback" not in run.text(), run, "no clean end")
            self.counts["ended by a signal"] += 1
        self._finish(place)

    def damage(self, together: bool) -> None:
        """Flip a byte in, and cut, each cached file of a finished run: it is told, and made again.

        With ``together``, in one run, one damage a file by turns.
        """
        place = self.place("flip")
        for kind in ("out", "cache"):
            shutil.copytree(self.reference.root / kind, place.root / kind)
        files = sorted(path for path in place.cache.rglob("*") if path.is_file())
        both = (self._flip_byte, self._cut)
        stories = [[(file, both[number % 2]) for number, file in enumerate(files)]] if together else \
            [[(file, damage) for file in group] for group in self._by_kind(files) for damage in both]
        for story in stories:
            for file, damage in story:
                damage(file)
                self.counts[f"files {'cut' if damage == self._cut else 'with a flipped byte'}"] += 1
            run = place.run()
            self._expect(run.wait() == 0, run, f"{[file.name for file, _ in story]} damaged, run fails")
            for file, _ in story:  # what is put together from the chunks at each run is never read before
                own_name = file.name.startswith(("chunk-", "precision", "alone", "distilled"))
                name = file.name if own_name else file.parent.name
                warned = any("warning: " in line and name in line for line in run.text().splitlines())
                made_again = file.name in ("logits.npy", "hints.npy")
                self._expect(warned or made_again, run, f"{file} is damaged and not named")
            self._expect_results(place, run)

    def fill(self) -> None:
        """Let the disk fill up at each write: it grows by a little after each run that finds it full.

        At first runs look at the disk beforehand, until one is stopped by that; from there on they don't.
        """
        with small_disk() as disk:
            place, size, before = self.place("full", disk.root), 64 << 10, None
            self.counts[f"disks ({disk.kind})"] += 1
            while True:
                disk.grow_to(size)
                run = place.run(before=before or disk.limit)
                if run.wait() == 0:
                    break
                seen_before = "error: labelling and training needs about" in run.text()
                if not seen_before:
                    self._expect_one_line(run, "no room is left on this disk")
                elif not before:
                    before = disk.limit_unseen
                self._expect_nothing_or_all(place, run)
                where = run.stages[-1][0] if run.stages else "the beginning"
                self.counts["lack of room seen beforehand" if seen_before else f"full disk in {where}"] += 1
                size += GROWTH_BYTES
            self._expect(before is not None, run, "a disk that is too small is not seen before the work")
            self._expect_results(place, run)

    def lock_out(self, stages: tuple[str, ...]) -> None:
        """Take away the permission to write in the middle of a run."""
        place = self.place("locked")
        for stage in stages:
            run = place.run(before=without_privileges)
            begun = run.follow(600, until=stage)
            self._permit(place, 0o500)
            code = run.wait()
            self._permit(place, 0o700)
            if begun and code:
                self._expect_one_line(run, "Permission denied")
                self._expect_nothing_or_all(place, run)
                self.counts["permission lost"] += 1
            else:
                self._expect(code == 0, run, f"locked out in {stage}")
        self._finish(place)

    def run_two(self) -> None:
        """Two runs at once: refused in one folder; in two folders with one cache both are right."""
        place = self.place("two")
        first = place.run()
        first.follow(600, until="augment")
        second = place.run()
        self._expect(second.wait() == 2 and "another run is writing to" in second.text(), second, "not refused")
        self._expect(first.wait() == 0, first, "disturbed by a second run")
        self._expect_results(place, first)
        self.counts["second runs refused"] += 1
        place, twin = self.place("twins"), self.place("twin")
        twin.cache = place.cache
        runs = [place.run(), twin.run()]
        for run in runs:
            self._expect(run.wait() == 0, run, "two runs with one cache disturb each other")
        for run, where in zip(runs, (place, twin)):
            self._expect_results(where, run)
        self.counts["pairs of runs with one cache"] += 1

    def report(self) -> dict:
        """Return what was done, for people and tests."""
        return {"kills": sum(self.kills.values()), "kills by stage": {name: self.kills[name] for name in STAGES},
                **self.counts}

    def _finish(self, place: Place) -> None:
        run = place.run()
        self._expect(run.wait() == 0, run, "the resumed run fails")
        self._expect_results(place, run)

    def _expect_results(self, place: Place, run: Run) -> None:
        found = place.results()
        other = sorted(name for name in found.keys() | self.results.keys() if found.get(name) != self.results.get(name))
        self._expect(not other, run, f"{place.root}: other than undisturbed: {other}")
        left = [path for path in place.root.rglob("*") if path.name.endswith(".partial") or path.name == ".lock"]
        self._expect(not left, run, f"left behind: {left}")

    def _expect_nothing_or_all(self, place: Place, run: Run) -> None:
        """A run that has not ended has published nothing that Paddle or a Predictor would load, or everything."""
        found = {name: value for name, value in place.results().items() if Path(name).parts[:2] != ("out", WORK_FOLDER)}
        if {"out/student.json", "out/model.pdmodel"} & found.keys():
            missing = [name for name, value in self.results.items()
                       if name.startswith("out/") and name != "out/student.json" and found.get(name) != value]
            self._expect(not missing, run, f"{place.root}: half a model is published: {missing}")

    def _expect_one_line(self, run: Run, text: str) -> None:
        errors = [line for line in run.text().splitlines() if "error: " in line]
        self._expect(run.code == 2 and len(errors) == 1 and text in errors[0] and "Traceback" not in run.text(), run,
                     f"exit code {run.code}, not one line with {text!r}")

    def _expect(self, holds: bool, run: Run, what: str) -> None:
        if not holds:
            raise AssertionError(f"{what}\n--- {run.log}\n{run.text()[-6000:]}")

    def _flip_byte(self, file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[self.rng.integers(len(content) - 1)] ^= 1 << self.rng.integers(8)
        file.write_bytes(content)

    def _cut(self, file: Path) -> None:
        file.write_bytes(file.read_bytes()[:self.rng.integers(file.stat().st_size)])

    @staticmethod
    def _by_kind(files: list[Path]) -> list[list[Path]]:
        """Return each file by itself, but the label chunks together."""
        chunks = [file for file in files if file.name.startswith("chunk-")]
        return [chunks, *([file] for file in files if file not in chunks)]

    @staticmethod
    def _permit(place: Place, mode: int) -> None:
        for folder in (*place.root.rglob("*/"), place.root / "out", place.root / "cache"):
            if folder.is_dir():
                folder.chmod(mode)

    @staticmethod
    def _forget(place: Place) -> None:
        shutil.rmtree(place.root)


class _Disk:
    """A disk of a set size: a tmpfs where that may be mounted; elsewhere no file may grow beyond the size."""

    def __init__(self, root: Path):
        self.root, self._size = root, 0
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(root)], capture_output=True)
        self.mounted = done.returncode == 0
        self.kind = "tmpfs" if self.mounted else "RLIMIT_FSIZE"

    def grow_to(self, size: int) -> None:
        self._size = size
        if self.mounted:
            subprocess.run(["mount", "-o", f"remount,size={size}", str(self.root)], check=True)

    def limit(self) -> None:
        """In the run's process: keep to the size where there is no tmpfs."""
        if not self.mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._size, self._size))

    def limit_unseen(self) -> None:
        """The same, and the run doesn't look at the disk beforehand, so that writes fail."""
        stages.check_room = recipe.check_room = lambda *arguments: None
        self.limit()


@contextmanager
def small_disk() -> Iterator[_Disk]:
    """Yield a disk that is full soon; it is unmounted and removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        disk = _Disk(Path(folder))
        try:
            yield disk
        finally:
            if disk.mounted:
                subprocess.run(["umount", folder], check=True)


def without_privileges() -> None:
    """Give up root's right to write anywhere; other users have none to give up."""
    if os.geteuid() == 0:
        header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        if ctypes.CDLL(None, use_errno=True).capset(header, none):
            raise OSError(ctypes.get_errno(), errno.errorcode[ctypes.get_errno()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few of each fault")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep files and logs there")
    arguments = parser.parse_args()
    prepare()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        harness = Harness(folder, arguments.seed)
        started = time.monotonic()
        if arguments.short:
            harness.kill(3, ("label", "distil", "publish"))
            harness.damage(together=True)
        else:
            harness.end_by_signal()
            harness.run_two()
            harness.damage(together=False)
            harness.lock_out(STAGES[3:])
            harness.fill()
            harness.kill(arguments.kills)
        print(json.dumps({**harness.report(), "seconds": round(time.monotonic() - started)}, indent=2))


if __name__ == "__main__":
    main()
