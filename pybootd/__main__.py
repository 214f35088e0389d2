"""``python -m pybootd``."""

import sys

from pybootd.cli import main

sys.exit(main())
