"""Records which versions Envoy had in force, from outside: asks its admin, and imports nothing of the harness.

Appends one JSON line for each version that a resource had not had before: {"at", "resource", "version"}. Effects on the
data plane are counted from these lines, so that no part under test counts its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path

SUFFIX = ".version_text"
TIMEOUT_S = 1.0


def main() -> int:
    """Exit 0 when Envoy answered at least once, else 1. The last line on stdout counts both kinds of polls."""
    arguments = parse()
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback has no proxy
    recorded = set(lines(arguments.out))
    answered = missed = 0
    end = time.monotonic() + arguments.seconds
    with arguments.out.open("a", encoding="utf-8", buffering=1) as out:
        while time.monotonic() < end:
            try:
                seen = set(versions(direct, arguments.admin))
                answered += 1
            except (OSError, ValueError, HTTPException):  # away, or killed in the middle of its answer
                seen = set()
                missed += 1
            for resource, version in sorted(seen - recorded):
                at = datetime.now(UTC).isoformat(timespec="milliseconds")
                out.write(json.dumps({"at": at, "resource": resource, "version": version}) + "\n")
            recorded |= seen
            time.sleep(arguments.every_ms / 1000)
    print(json.dumps({"polls_answered": answered, "polls_missed": missed}))
    return 0 if answered else 1


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Record the versions that Envoy has in force.")
    parser.add_argument("--admin", required=True, metavar="URL", help="Envoy's admin, http://127.0.0.1:<port>")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="JSON lines are appended here")
    parser.add_argument("--seconds", required=True, type=float, help="stop after so long")
    parser.add_argument("--every-ms", type=float, default=50, help="time between two polls (default 50)")
    return parser.parse_args()


def lines(file: Path) -> Iterator[tuple[str, str]]:
    """What an earlier recording in the same file has seen."""
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            yield entry["resource"], entry["version"]


def versions(direct: urllib.request.OpenerDirector, admin: str) -> Iterator[tuple[str, str]]:
    """Resource and version of everything that Envoy has in force now."""
    with direct.open(f"{admin.rstrip('/')}/stats?filter=version_text$&format=json", timeout=TIMEOUT_S) as answer:
        for entry in json.load(answer)["stats"]:
            name, version = entry.get("name", ""), entry.get("value", "")
            if name.endswith(SUFFIX) and version:
                yield name.removesuffix(SUFFIX), version


if __name__ == "__main__":
    sys.exit(main())
