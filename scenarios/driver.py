"""Installs an incident's fault: another team's commits on main, rolled out to every node by another hand, or machines
that die.

Touches the service's repository, the nodes' API and the machines that it takes away; knows nothing of the harness that
will have to find it. What is wrong, and where, goes into no place that the harness reads.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from temporalio.client import Client

from scenarios.machines import drawn, power_off
from scenarios.scenario import Later, commits_of, edits_of, read_scenario
from scenarios.series import Commit, commit_series, order

ACTOR = "external"
CHEATER = "Tomas Reyes <tomas.reyes@example.org>"
OPERATOR = ("-c", "user.name=Ines Falk", "-c", "user.email=ines.falk@example.org")


async def roll_out(client: Client, nodes: list[str], commit: str, token: int) -> list[dict[str, Any]]:
    """Have every node serve ``commit``, all at once, as an operator in a hurry would."""
    run = uuid.uuid4().hex[:8]
    return list(
        await asyncio.gather(
            *(
                client.execute_workflow(
                    "NodeOrder",
                    {"verb": "swap", "key": f"{ACTOR}/{run}", "token": token, "slot": "stable", "commit": commit,
                     "actor": ACTOR},
                    id=f"{node}/{ACTOR}/{run}", task_queue=f"node-{node}",
                )
                for node in nodes
            )
        )
    )  # fmt: skip


async def reports(client: Client, nodes: list[str]) -> list[dict[str, Any]]:
    """Every node's account of itself, in their order."""
    return list(
        await asyncio.gather(
            *(
                client.execute_workflow(
                    "NodeReport", id=f"{ACTOR}-report-{node}-{uuid.uuid4().hex}", task_queue=f"node-{node}"
                )
                for node in nodes
            )
        )
    )


async def stop(client: Client, nodes: list[str], token: int) -> list[dict[str, Any]]:
    """Have these nodes serve nothing any more."""
    run = uuid.uuid4().hex[:8]
    return list(
        await asyncio.gather(
            *(
                client.execute_workflow(
                    "NodeOrder",
                    {"verb": "remove", "key": f"{ACTOR}/{run}", "token": token, "slot": "stable", "actor": ACTOR},
                    id=f"{node}/{ACTOR}/{run}", task_queue=f"node-{node}",
                )
                for node in nodes
            )
        )
    )  # fmt: skip


async def cheat(arguments: argparse.Namespace) -> dict[str, Any]:
    """Do what the cheat of that name does, on top of what runs; says what main is at then."""
    scenario = read_scenario(arguments.incident)
    named = {one.name: one for one in scenario.cheats}
    if arguments.cheat not in named:
        raise SystemExit(f"{arguments.incident}: no cheat {arguments.cheat!r}; there is {', '.join(named) or 'none'}")
    one = named[arguments.cheat]
    client = await Client.connect(arguments.temporal, namespace=arguments.namespace)
    token, answers = await highest_token(client, arguments.nodes), list[dict[str, Any]]()
    if one.edits:
        commit: Commit = {"author": CHEATER, "message": f"{one.name}\n\n{one.why}\n", "role": "fault",
                          "edits": edits_of(one)}  # fmt: skip
        commit_series(arguments.repository, [commit], before=datetime.now(UTC))
    if one.stops is not None:
        answers = await stop(client, arguments.nodes[: one.stops or None], token)
    main = main_of(arguments.repository)
    for _ in range(one.restarts or (1 if one.edits else 0)):
        answers += await roll_out(client, arguments.nodes, main, token)
    if failed := [answer for answer in answers if not answer["ok"]]:
        raise SystemExit(f"{one.name}: {failed[0]['reason']}")
    return {"cheat": one.name, "release": main}


async def highest_token(client: Client, nodes: list[str]) -> int:
    """The fencing token that the nodes ask for at least."""
    return max(int(report["highest_token"]) for report in await reports(client, nodes))


def main_of(repository: Path) -> str:
    """The commit that main is at."""
    words = ["git", "-C", str(repository), "rev-parse", "--verify", "refs/heads/main^{commit}"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def return_to(repository: Path, commit: str) -> None:
    """Give main the tree of ``commit``, by a commit, unless it has it: a series starts from the service as it ships."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(repository), *OPERATOR, *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    main = git("rev-parse", "refs/heads/main")
    tree = git("rev-parse", f"{commit}^{{tree}}")
    if git("rev-parse", "main^{tree}") != tree:
        new = git("commit-tree", tree, "-p", main, "-m", "Start over from the last reviewed state")
        git("update-ref", "refs/heads/main", new, main)


async def install(arguments: argparse.Namespace) -> dict[str, Any]:
    """One fault after the other; says when the first was there, and which release, not who is to blame."""
    scenario = read_scenario(arguments.incident)
    began_at, release, nodes = datetime.now(UTC), None, list(arguments.nodes)
    for number, step in enumerate(scenario.fault.steps if scenario.fault else ()):
        await asyncio.sleep(step.after_s if isinstance(step, Later) else 0.0)
        installed_at = datetime.now(UTC)
        for node in drawn(nodes, step.lost_machines or 0, arguments.seed):
            power_off(arguments.home, node)
            nodes.remove(node)
        if series := commits_of(step):
            if release is None:
                return_to(arguments.repository, arguments.base)
            release, installed_at = await release_of(order(series, arguments.seed), arguments, nodes)
        began_at = installed_at if number == 0 else began_at
    return {"installed_at": began_at.isoformat(), "release": release}


async def release_of(series: list[Commit], arguments: argparse.Namespace, nodes: list[str]) -> tuple[str, datetime]:
    """Commit the series and roll it out; the release, and when it began to be served."""
    client = await Client.connect(arguments.temporal, namespace=arguments.namespace)
    ids = commit_series(arguments.repository, series, before=datetime.now(UTC))
    token = await highest_token(client, nodes)
    installed_at = datetime.now(UTC)
    answers = await roll_out(client, nodes, ids[-1], token)
    if failed := [answer for answer in answers if not answer["ok"]]:
        raise SystemExit(f"the release did not start: {failed[0]['reason']}")
    return ids[-1], installed_at


def main() -> int:
    """Process edge: prints one JSON line. With ``--cheat`` the fault is taken for installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--incident", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--base", required=True, help="the commit whose tree the series starts from")
    parser.add_argument("--temporal", required=True)
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--nodes", nargs="+", required=True)
    parser.add_argument("--home", type=Path, help="HARNESS_HOME of the stack: for faults that are no commits")
    parser.add_argument("--cheat", help="instead: do what this cheat of the incident does, on top of what runs")
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run((cheat if arguments.cheat else install)(arguments))), flush=True)
    return 0


if __name__ == "__main__":
    # Without the interpreter's shutdown: threads of the Temporal client crashed it in 8 of 72 ends on a busy machine.
    os._exit(main())
