"""What every repository promises of reading and writing files: the one on git, and that of the modelled world."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.adapters.declarations import load_manifest
from harness.adapters.worktree import ServiceRepository
from harness.bootstrap import CHECKOUT
from harness.core.errors import Invalid, Refused
from harness.simulation.clock import run
from harness.simulation.repository import MemoryRepository
from harness.simulation.service import Behaviour, Change
from harness.simulation.world import World
from tests.integration.git_world import GitWorld

KEY, BRANCH = "INF-1/1/step-1", "harness/INF-1/1"


@dataclass
class Kept:
    """A repository with a main of some files, ``a`` with two lines among them."""

    repository: ServiceRepository | MemoryRepository
    text_of_a: str


def on_git(tmp_path: Path) -> Kept:
    git = GitWorld(tmp_path / "service.git")
    git.commit({"a": "one = 1\ntwo = 2\n", "b": "one = 1\n"}, branch="main")
    return Kept(ServiceRepository(git.path, tmp_path / "worktrees"), "one = 1\ntwo = 2\n")


def in_memory(_: Path) -> Kept:
    world = World(load_manifest(CHECKOUT / "services" / "ratelimiter" / "service.yaml"))
    world.repository.push(Change("a", Behaviour(wait_ms=1.0, wait_share=0.5)), "people")
    world.repository.push(Change("b", Behaviour(wait_ms=1.0)), "people")
    return Kept(world.repository, "wait_ms = 1.0\nwait_share = 0.5\n")


@pytest.fixture(params=[on_git, in_memory], ids=["git", "memory"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Callable[[Kept], None]], None]]:
    """Runs a story on the repository: the modelled one has its own time."""

    def told(story: Callable[[Kept], None]) -> None:
        async def timed() -> None:
            story(request.param(tmp_path))

        run(timed())

    yield told


Told = Callable[[Callable[[Kept], None]], None]


def written(kept: Kept, path: str, text: str, key: str = KEY, onto: str = "") -> str:
    repository = kept.repository
    return repository.write(path, text, onto or repository.main(), BRANCH, key, "Change a file\n")


def test_files_are_listed_and_read_as_they_are(kept: Told) -> None:
    def story(kept: Kept) -> None:
        repository, main = kept.repository, kept.repository.main()
        assert {"a", "b"} <= set(repository.files(main)) and repository.files(main) == sorted(repository.files(main))
        assert repository.read(main, "a") == kept.text_of_a
        with pytest.raises(Refused, match="nowhere: is not there"):
            repository.read(main, "nowhere")

    kept(story)


def test_a_search_finds_exact_text_by_file_and_line(kept: Told) -> None:
    def story(kept: Kept) -> None:
        repository, main = kept.repository, kept.repository.main()
        first, second = kept.text_of_a.splitlines()
        hits = repository.search(main, first)
        assert [(hit.path, hit.line, hit.text) for hit in hits] == [("a", 1, first), ("b", 1, first)]
        assert [(hit.path, hit.line) for hit in repository.search(main, second)] == [("a", 2)]
        assert repository.search(main, "o.e") == repository.search(main, "-e nothing") == []
        with pytest.raises(Refused):
            repository.search(main, "two\nlines")

    kept(story)


def test_what_was_written_is_a_commit_on_top_and_main_stays(kept: Told) -> None:
    def story(kept: Kept) -> None:
        repository, main = kept.repository, kept.repository.main()
        # when a file is changed, and on top of that a new one is written
        commit = written(kept, "a", "# nothing\n")
        both = written(kept, "c/d", "# new\n", "INF-1/1/step-2", commit)
        # then the branch holds both, and what was there before is as it was
        assert (repository.read(commit, "a"), repository.read(both, "c/d")) == ("# nothing\n", "# new\n")
        assert repository.read(main, "a") == kept.text_of_a and repository.main() == main
        assert [entry.files for entry in repository.log(main, both)] == [("a",), ("c/d",)]
        assert repository.merge(both, main, "INF-1/1/test") == both

    kept(story)


def test_the_same_key_again_gives_the_same_commit(kept: Told) -> None:
    def story(kept: Kept) -> None:
        first = written(kept, "a", "# one\n")
        assert written(kept, "a", "# one\n") == first == written(kept, "a", "# two\n")
        assert kept.repository.read(first, "a") == "# one\n"

    kept(story)


def test_a_text_that_is_there_already_is_no_change(kept: Told) -> None:
    def story(kept: Kept) -> None:
        with pytest.raises(Refused, match="has this text already"):
            written(kept, "a", kept.text_of_a)

    kept(story)


def test_a_commit_that_is_none_is_invalid(kept: Told) -> None:
    def story(kept: Kept) -> None:
        for call in (lambda: kept.repository.files("f" * 40), lambda: kept.repository.read("f" * 40, "a"),
                     lambda: written(kept, "a", "x", onto="f" * 40)):  # fmt: skip
            with pytest.raises(Invalid):
                call()

    kept(story)


def test_the_trailers_of_what_was_made_are_found_by_its_key_and_nothing_in_the_text_is_one(kept: Told) -> None:
    def story(kept: Kept) -> None:
        repository, main = kept.repository, kept.repository.main()
        told = "Change a file\n\nLedger-Head: 1 told\nin the text\n\nTicket: INF-1\nLedger-Head: 7 a b\n"
        commit = repository.write("a", "# one\n", main, BRANCH, KEY, told)
        repository.write("a", "# two\n", main, BRANCH, KEY, "Again\n\nLedger-Head: 9 a b\n")
        back = repository.roll_back(main, commit, "INF-1/1/rollback", "Back\n\nLedger-Head: 8 a b\n")
        repository.write("b", "# other\n", main, BRANCH, "INF-1/1/step-9", "No trailer\n")
        other = repository.write("c/e", "# new\n", main, BRANCH, "INF-1/1/step-8", "No trailer\n")
        repository.merge(other, back, "INF-1/2/test", "Ledger-Head: 9 a b\n")

        assert repository.trailers("Ledger-Head") == [
            ("INF-1/1/rollback", "8 a b"), (KEY, "7 a b"), ("INF-1/2/test", "9 a b"),
        ]  # fmt: skip

    kept(story)
