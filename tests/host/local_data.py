"""Run an example script of PaddleSlim as it stands on local files: ``local_data.py FOLDER ROWS SCRIPT ARGUMENT...``.

The scripts fetch SST-2 with ``paddlenlp.datasets.load_dataset``. Here that function reads ``train.tsv`` and
``dev.tsv`` (columns sentence and label) of ``FOLDER``, the first ``ROWS`` of the former (0: all).
"""

from __future__ import annotations

import csv
import importlib.abc
import importlib.machinery
import runpy
import sys
from pathlib import Path

_MODULE = "paddlenlp.datasets"


def read_split(folder: Path, split: str, rows: int) -> list[dict]:
    """Return ``{"sentence": text, "labels": number}`` for each row of a split; ``rows`` cuts the training text."""
    with (folder / f"{split}.tsv").open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        read = [{"sentence": row["sentence"], "labels": int(row["label"])} for row in table]
    return read[:rows] if rows and split == "train" else read


class LocalDatasets(importlib.abc.MetaPathFinder):
    """Gives ``paddlenlp.datasets`` another ``load_dataset`` when the script imports it.

    Not before: Paddle comes with it, and the script's own first line is to be the first to run.
    """

    def __init__(self, folder: Path, rows: int):
        self._folder, self._rows = folder, rows

    def find_spec(self, fullname, path=None, target=None):
        if fullname != _MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        run = spec.loader.exec_module

        def run_and_replace(module):
            run(module)
            module.load_dataset = lambda *args, **kwargs: self._load(module.MapDataset, *args, **kwargs)
        spec.loader.exec_module = run_and_replace
        return spec

    def _load(self, data_set_class, path, name, splits):
        if path not in ("glue", "clue") or name != "sst-2":  # nlp/paddle_inference_eval.py always asks clue
            raise ValueError(f"no local data for {path}, {name}")

        def load(split):
            return data_set_class(read_split(self._folder, split, self._rows), label_list=["0", "1"])
        return load(splits) if isinstance(splits, str) else [load(split) for split in splits]


if __name__ == "__main__":
    folder, rows, script = Path(sys.argv[1]).resolve(), int(sys.argv[2]), sys.argv[3]
    sys.meta_path.insert(0, LocalDatasets(folder, rows))
    sys.argv = sys.argv[3:]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")
