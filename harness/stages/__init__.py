"""One file per arrow of the picture in ``docs/architecture.md``. A stage reads as: load, decide, do, record.

Stages don't import each other; every one can be retried at any point and goes on where the ledger says it stopped.
"""

FLOW = ("observe", "file", "admit", "work", "test", "canary", "deploy", "verify")
"""The stages in order."""
