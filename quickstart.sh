#!/usr/bin/env bash
# The quickstart: installs the project into .venv (or into the virtual environment that is active) and runs
# `paddleslim-bilstm quickstart` there: it makes a review corpus, fine-tunes a pretrained BERT on it and compresses that
# into a quantized Bi-LSTM. Needs Python 3.9 to 3.13 and PyPI; choose an interpreter with PYTHON=/path/to/python
# ./quickstart.sh; whatever arguments follow go to the command.
set -euo pipefail
cd "$(dirname "$0")"

supported() { "$1" -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

if [ -z "${VIRTUAL_ENV:-}" ]; then
    if [ ! -f .venv/bin/activate ]; then  # none, or one that was stopped on the way
        for python in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.10 python3.9; do
            supported "$python" && break
        done
        supported "$python" || { echo "quickstart.sh: needs Python 3.9 to 3.13; name one: PYTHON=... $0" >&2; exit 2; }
        "$python" -m venv .venv
    fi
    source .venv/bin/activate
fi
supported python || { echo "quickstart.sh: the active environment must have Python 3.9 to 3.13" >&2; exit 2; }

echo "== Installing (about two minutes) =="
python -m pip install --quiet --disable-pip-version-check ".[cpu]"

paddleslim-bilstm quickstart "$@"
