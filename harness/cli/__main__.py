"""`python -m harness.cli`: the command line, for a process that is started by its Python."""

from __future__ import annotations

from harness.cli import main

if __name__ == "__main__":
    main()
