"""Says whether a file is an incident that can be played on a tree of the service. Changes nothing, starts nothing.

Prints the whole incident as one JSON line, every default filled in, or ``path: reason`` on stderr, a line a fault, and
ends with 2.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from scenarios.scenario import InvalidScenario, Scenario, commits_of, edits_of, read_scenario
from scenarios.series import EditDoesNotApply, apply_edits, order

INVALID = 2


def checked(path: Path, *, services: Path, seed: int) -> Scenario:
    """The incident in ``path``, whose edits apply in the order of ``seed``. Raises InvalidScenario."""
    scenario = read_scenario(path)
    service = services / scenario.service
    if not service.is_dir():
        known = sorted(folder.name for folder in services.iterdir() if (folder / "service.yaml").is_file())
        raise InvalidScenario(f"{path}: service: no service {scenario.service!r}; known: {', '.join(known)}")
    steps = scenario.fault.steps if scenario.fault else ()
    with tempfile.TemporaryDirectory(prefix="incident-") as folder:
        tree = Path(folder, "tree")
        shutil.copytree(service, tree, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        for later, step in enumerate(steps):
            series, place = commits_of(step), f"fault.then[{later - 1}]" if later else "fault"
            for commit in order(series, seed):
                try:
                    apply_edits(tree, commit["edits"])
                except EditDoesNotApply as error:
                    number = series.index(commit)
                    raise InvalidScenario(f"{path}: {place}.series[{number}].edits: {error}") from None
        for cheat in scenario.cheats:
            tried = Path(folder, cheat.name)
            shutil.copytree(tree, tried)
            try:
                apply_edits(tried, edits_of(cheat))
            except EditDoesNotApply as error:
                raise InvalidScenario(f"{path}: cheats: {cheat.name}: {error}") from None
    return scenario


def main() -> int:
    """Process edge."""
    parser = argparse.ArgumentParser(prog="scenarios.check", description="Whether a file is an incident.")
    parser.add_argument("--incident", type=Path, required=True)
    parser.add_argument("--services", type=Path, required=True, help="the folder with the services' trees")
    parser.add_argument("--seed", type=int, required=True)
    arguments = parser.parse_args()
    try:
        scenario = checked(arguments.incident, services=arguments.services, seed=arguments.seed)
    except InvalidScenario as error:
        print(error, file=sys.stderr)
        return INVALID
    print(json.dumps(scenario.document()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
