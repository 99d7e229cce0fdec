"""Projections kept in memory, as the ledger keeps them in its database. Gone with its process; touches nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from harness.core.record import Kept, Projected


class InMemory:
    """Promises what the store promises of ``projected`` and ``project``."""

    def __init__(self, kept: Mapping[str, Kept] | None = None) -> None:
        self._kept = dict(kept or {})

    def projected(self, names: Collection[str], keys: Collection[str] | None = None) -> dict[str, Kept]:
        return {
            name: Kept(kept.progress, _chosen(kept.documents, keys))
            for name, kept in self._kept.items() if name in names
        }  # fmt: skip

    def project(self, steps: Sequence[Projected]) -> bool:
        if any(step.before != (self._kept[step.name].progress if step.name in self._kept else None) for step in steps):
            return False
        for step in steps:
            documents = {} if step.anew or step.name not in self._kept else self._kept[step.name].documents
            for key, document in step.documents.items():
                if document is None:
                    documents.pop(key, None)
                else:
                    documents[key] = document
            self._kept[step.name] = Kept(step.after, documents)
        return True


def _chosen(documents: dict[str, str], keys: Collection[str] | None) -> dict[str, str]:
    return dict(documents) if keys is None else {key: documents[key] for key in keys if key in documents}
