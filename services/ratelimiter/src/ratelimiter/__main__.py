"""Lets ``python -m ratelimiter`` run the command line. Decides nothing itself."""

import sys

from ratelimiter.cli import main

sys.exit(main())
