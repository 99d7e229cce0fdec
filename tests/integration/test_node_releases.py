"""Proves with real git and uv that a release is what its hash says, made once, and never changed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.adapters.releases import ReleaseStore
from harness.core.errors import Invalid, Retryable
from tests.integration.node_world import SERVICE, World, new_world

LOCK = (Path(__file__).parents[2] / "requirements.lock").read_text()
ONE_PACKAGE = re.search(r"^iniconfig==(?:.*\\\n)*.*\n", LOCK, re.MULTILINE)


@pytest.fixture
def world() -> Iterator[World]:
    with new_world() as made:
        yield made


@pytest.fixture
def store(world: World) -> ReleaseStore:
    return ReleaseStore(home=world.home, repository=world.repo.path)


def test_a_release_is_a_read_only_folder_named_by_its_tree(world: World, store: ReleaseStore) -> None:
    commit = world.repo.commit("code", files={"run.sh": "#!/bin/sh"})
    release = store.build(commit)

    assert release.path == world.home.releases / store.tree_hash(commit)
    assert (release.path / "src/tiny.py").read_text() == "code"
    assert all(not path.stat().st_mode & 0o222 for path in release.path.rglob("*"))
    assert all(path.stat().st_mode & 0o004 for path in release.path.rglob("*"))  # whoever it runs as can read it


def test_equal_trees_are_one_release_and_equal_locks_one_venv(world: World, store: ReleaseStore) -> None:
    first, changed, again = (store.build(world.repo.commit(code)) for code in ("a", "b", "a"))

    assert first.path == again.path != changed.path
    assert first.commit != again.commit
    assert first.venv == changed.venv


def test_builders_at_once_make_one_release(world: World, store: ReleaseStore) -> None:
    commit = world.repo.commit("code")
    with ThreadPoolExecutor(4) as pool:
        releases = list(pool.map(lambda _: store.build(commit), range(4)))

    assert len({release.path for release in releases}) == 1
    assert [path.name for path in world.home.releases.iterdir() if not path.name.startswith(".lock")] == [
        releases[0].tree
    ]


def test_the_head_of_main_is_found(world: World, store: ReleaseStore) -> None:
    world.repo.commit("old")
    new = world.repo.commit("new")
    assert store.head() == new
    with pytest.raises(Invalid, match="branch 'trunk'"):
        store.head("trunk")


@pytest.mark.parametrize("unknown", ["0" * 40, "nonsense", "--all", ""])
def test_a_commit_that_is_not_there_is_refused(world: World, store: ReleaseStore, unknown: str) -> None:
    world.repo.commit("code")
    with pytest.raises(Invalid, match="is not in"):
        store.build(unknown)


def test_a_tree_that_hides_files_from_its_archive_is_refused(world: World, store: ReleaseStore) -> None:
    commit = world.repo.commit("code", files={".gitattributes": "limits.yaml export-ignore\n", "limits.yaml": "x"})
    with pytest.raises(Invalid, match=r"hides limits\.yaml"):
        store.build(commit)
    assert not (world.home.releases / store.tree_hash(commit)).exists()


def test_a_tree_whose_archive_has_other_files_than_its_hash_says_is_refused(world: World, store: ReleaseStore) -> None:
    commit = world.repo.commit("code", files={".gitattributes": "run.bat eol=crlf\n", "run.bat": "exit\n"})
    with pytest.raises(Invalid, match=r"has run\.bat changed in its archive"):
        store.build(commit)


def test_whatever_is_altered_in_a_release_s_folder_is_named(world: World, store: ReleaseStore) -> None:
    # given a release with a program, a link and a file in a folder
    commit = world.repo.commit("code", files={"run.sh": "#!/bin/sh", "a/b/deep.txt": "deep"}, links={"now": "run.sh"})
    release = store.build(commit)
    assert store.altered(release.tree) == ()
    folder = release.path
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    # when it is altered in every way that changes what would run: then each is named
    assert store.altered(release.tree) == (), "no file of it was a program, and who may write is not of the tree"
    (folder / "src/tiny.py").write_text("edoc")
    assert store.altered(release.tree) == ("src/tiny.py",)
    (folder / "src/tiny.py").write_text("code")
    (folder / "run.sh").chmod(0o755)
    (folder / "a/b/deep.txt").unlink()
    (folder / "a/b/more.txt").write_text("more")
    (folder / "now").unlink()
    (folder / "now").symlink_to("src")
    assert store.altered(release.tree) == ("a/b/deep.txt", "a/b/more.txt", "now", "run.sh")
    # and a folder that is gone has nothing of it
    shutil.rmtree(folder)
    assert len(store.altered(release.tree)) == 6
    with pytest.raises(Invalid, match="is not in"):
        store.altered("0" * 40)


def test_a_link_out_of_the_tree_is_refused(world: World, store: ReleaseStore) -> None:
    with pytest.raises(Invalid, match="no release may hold"):
        store.build(world.repo.commit("code", links={"secrets": "/etc/shadow"}))


def test_a_manifest_that_says_nothing_usable_is_refused_by_name(world: World, store: ReleaseStore) -> None:
    with pytest.raises(Invalid, match=r"service.yaml: run: command"):
        store.build(world.repo.commit("code", files={"service.yaml": "build: {lock: requirements.lock}\nrun: {}\n"}))
    with pytest.raises(Invalid, match=r"lock: .*other.lock does not exist"):
        manifest = "build: {lock: other.lock}\nrun: {command: [x], health: /, drain: /, stop_grace: 1s}\n"
        store.build(world.repo.commit("code", files={"service.yaml": manifest}))


def test_a_venv_holds_exactly_what_the_lock_names(world: World, store: ReleaseStore) -> None:
    assert ONE_PACKAGE is not None
    release = store.build(world.repo.commit(SERVICE, files={"requirements.lock": ONE_PACKAGE[0]}))

    packages = {path.name for path in release.venv.glob("lib/python3*/site-packages/*.dist-info")}
    assert [name.split("-")[0] for name in packages] == ["iniconfig"]


def test_a_package_that_is_not_the_locked_one_is_refused_with_the_last_words_of_uv(
    world: World, store: ReleaseStore
) -> None:
    assert ONE_PACKAGE is not None
    forged = re.sub(r"sha256:\w{64}", "sha256:" + "0" * 64, ONE_PACKAGE[0])
    commit = world.repo.commit(SERVICE, files={"requirements.lock": forged})
    with pytest.raises(Retryable, match=r"(?s)uv pip: exit .*[Hh]ash"):
        store.build(commit)
    assert not list(world.home.venvs.glob("*/.complete"))
