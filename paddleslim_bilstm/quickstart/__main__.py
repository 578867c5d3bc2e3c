"""``python -m paddleslim_bilstm.quickstart FOLDER``: write train.tsv, dev.tsv and unlabeled.txt there."""

from __future__ import annotations

import argparse

from .corpus import make_corpus, write_corpus


def main() -> None:
    """Write the corpus that the quickstart trains on."""
    parser = argparse.ArgumentParser(prog="python -m paddleslim_bilstm.quickstart", description=main.__doc__)
    parser.add_argument("folder", help="where train.tsv, dev.tsv and unlabeled.txt go")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other sentences")
    arguments = parser.parse_args()
    corpus = make_corpus(seed=arguments.seed)
    write_corpus(arguments.folder, corpus)
    print(f"{arguments.folder}: {len(corpus.train)} training, {len(corpus.dev)} dev and "
          f"{len(corpus.unlabeled)} unlabelled reviews")


if __name__ == "__main__":
    main()
