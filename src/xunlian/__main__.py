"""`python -m xunlian`, which torchrun needs."""

import sys

from xunlian.cli import main

sys.exit(main())
