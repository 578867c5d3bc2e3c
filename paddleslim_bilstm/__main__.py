"""``python -m paddleslim_bilstm`` is ``paddleslim-bilstm``."""

import sys

from .cli import main

sys.exit(main())
