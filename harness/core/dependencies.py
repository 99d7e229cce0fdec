"""Which packages a service's locks bring, and which of them a change adds. Pure, touches nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from harness.core.manifest import Manifest


def locks(manifest: Manifest) -> tuple[str, ...]:
    """The files by which its environments are made: of a release and of every check. Nothing else is installed."""
    return tuple(sorted({manifest.build.lock, *(check.lock for check in manifest.checks)}))


def added(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """What the locks ``after`` have and none of those ``before`` has: packages by name, whatever their version.

    A line that is no requirement (another file, another index) may bring anything, so it counts as itself.
    """
    known = {name for text in before for name in _names(text)}
    return sorted({name for text in after for name in _names(text)} - known)


def _names(lock: str) -> Iterator[str]:
    for line in lock.replace("\\\n", " ").splitlines():
        asked = line.partition(" #")[0].partition("--hash")[0].strip()
        if not asked or asked.startswith("#"):
            continue
        try:
            requirement = Requirement(asked)
        except InvalidRequirement:
            yield asked
            continue
        name = canonicalize_name(requirement.name)
        yield f"{name} from {requirement.url}" if requirement.url else name
