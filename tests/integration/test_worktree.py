"""Proves on real git what the service's repository does: history, commits by key, main, and hostile names."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.adapters.worktree import ServiceRepository
from harness.core.errors import Forbidden, Invalid, Refused, Retryable
from harness.core.plain_text import commit_message
from tests.hostile import HOSTILE
from tests.integration.git_world import GitWorld

MANIFEST = """\
name: tiny
repository: repos/tiny.git
owners: [a-team]
build: {lock: requirements.lock}
run: {command: [python, -m, tiny, "{socket}"], health: /readyz, drain: /v1/drain, stop_grace: 2s}
checks: [{name: tests, command: [python, -m, pytest], lock: requirements.lock, timeout: 10s, memory: 256MiB}]
capacity: {requests_per_s_per_node: 1}
metrics: {bad: {kind: ratio, bad: bad_total, total: all_total, unit: "%", direction: lower, good: "0"}}
traffic: {cluster: stable}
canary: {guards: [bad]}
"""


@pytest.fixture
def git(tmp_path: Path) -> GitWorld:
    world = GitWorld(tmp_path / "tiny.git")
    first = world.commit({"service.yaml": MANIFEST, "limit.txt": "10\n", "other.txt": "1\n"}, branch="main")
    world.git("tag", "shipped", first)
    return world


@pytest.fixture
def repository(git: GitWorld, tmp_path: Path) -> ServiceRepository:
    return ServiceRepository(git.path, tmp_path / "worktrees")


def advance(git: GitWorld, files: dict[str, str | bytes | None], message: str = "a change") -> str:
    """A commit on top of main, and main with it."""
    return git.commit(files, onto="main", message=message, branch="main")


def nothing_left(tmp_path: Path, git: GitWorld) -> bool:
    return list((tmp_path / "worktrees").iterdir()) == [] and len(git.git("worktree", "list").splitlines()) == 1


# --- reading ---------------------------------------------------------------------------------------------------------


def test_the_log_tells_states_of_main_oldest_first(git: GitWorld, repository: ServiceRepository) -> None:
    # given two commits after the one that was shipped, the second a merge of a branch of two
    first = advance(git, {"limit.txt": "20\n"}, "Raise the limit")
    side = git.commit({"a.txt": "1"}, onto=git.commit({"b.txt": "1"}, onto="shipped"))
    merged = repository.merge(side, first, "INF-1/1/test")
    repository.move_main(first, merged)

    # when the log is read
    log = repository.log("shipped", "main")

    # then each state of main is there once, with what it changed against the state before
    assert [(entry.commit, entry.files) for entry in log] == [(first, ("limit.txt",)), (merged, ("a.txt", "b.txt"))]
    assert [(entry.subject, entry.author) for entry in log] == [
        ("Raise the limit", "Ada"),
        (f"Merge {side[:12]} into main", "harness"),
    ]
    assert log[0].at.tzinfo is not None
    assert repository.log("main", "main") == []


def test_the_log_gives_file_names_and_subjects_as_they_are(git: GitWorld, repository: ServiceRepository) -> None:
    names = ["two words.txt", "\nnew\nline.txt", "grüße.txt", 'quo"te\\.txt', "tab\t.txt", "-x", "sep\x1e\x1f.txt"]
    first = git.commit(
        dict.fromkeys(names, "1"), onto="main", message="Grüße \x1e\x1f ok\n\nbody\n\nfile.txt", branch="main"
    )
    empty = advance(git, {}, "")
    renamed = advance(git, {"limit.txt": None, "bound.txt": "10\n"})

    log = repository.log("shipped", "main")

    assert [entry.commit for entry in log] == [first, empty, renamed]
    assert sorted(log[0].files) == sorted(names) and log[0].subject == "Grüße \x1e\x1f ok"
    assert (log[1].files, log[1].subject) == ((), "")
    assert sorted(log[2].files) == ["bound.txt", "limit.txt"], "a renamed file is known by both names"


def test_bytes_that_are_no_text_can_be_recorded(git: GitWorld, repository: ServiceRepository) -> None:
    commit = advance(git, {os.fsdecode(b"latin-\xe9.txt"): b"caf\xe9\n"}, "Latin")

    log, diff = repository.log("shipped", "main"), repository.diff("shipped", commit)

    assert log[0].files == ("latin-�.txt",)
    assert "+caf�\n" in diff
    json.dumps([log[0].files, diff]).encode("utf-8")


def test_the_diff_is_whole_and_its_own(git: GitWorld, repository: ServiceRepository) -> None:
    # given a repository whose settings would colour and replace a diff
    git.git("config", "color.ui", "always")
    git.git("config", "diff.external", "false")
    commit = advance(git, {"limit.txt": "20\n"})

    diff = repository.diff(f"{commit}^", commit)

    assert diff.startswith("diff --git a/limit.txt b/limit.txt\n") and diff.endswith("-10\n+20\n")


def test_the_manifest_is_that_of_the_commit(git: GitWorld, repository: ServiceRepository) -> None:
    changed = advance(git, {"service.yaml": MANIFEST.replace("a-team", "b-team")})
    without = advance(git, {"service.yaml": None})
    damaged = advance(git, {"service.yaml": "name: ["})

    assert repository.manifest("shipped").owners == ("a-team",)
    assert repository.manifest(changed).owners == ("b-team",)
    with pytest.raises(Invalid, match=f"service.yaml of {without[:12]}: is not there"):
        repository.manifest(without)
    with pytest.raises(Invalid, match=damaged[:12]):
        repository.manifest(damaged)


@pytest.mark.parametrize(
    "name",
    ["--upload-pack=touch pwned", "--output=pwned", "-x", "--all", "nowhere", "0" * 40, "", "a..b", "main:limit.txt",
     "HEAD\nmain", "nul\0", "refs/heads/", "shipped^{tree}"],
)  # fmt: skip
def test_a_hostile_name_is_no_commit_anywhere(
    name: str, git: GitWorld, repository: ServiceRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = git.refs()
    calls = [
        lambda: repository.tree(name),
        lambda: repository.log(name, "main"),
        lambda: repository.log("main", name),
        lambda: repository.diff(name, "main"),
        lambda: repository.diff("main", name),
        lambda: repository.manifest(name),
        lambda: repository.revert(name, "main", "b", "k1", "m"),
        lambda: repository.revert("main", name, "b", "k2", "m"),
        lambda: repository.merge(name, "main", "k3"),
        lambda: repository.merge("main", name, "k4"),
        lambda: repository.roll_back(name, "main", "k5", "m"),
        lambda: repository.roll_back("main", name, "k6", "m"),
        lambda: repository.move_main(name, "main"),
        lambda: repository.move_main("main", name),
    ]

    for call in calls:
        with pytest.raises(Invalid, match="no commit"):
            call()

    assert git.refs() == before
    assert not list(tmp_path.rglob("pwned*"))


def test_a_commit_is_found_by_branch_tag_and_short_hash(git: GitWorld, repository: ServiceRepository) -> None:
    first, second = repository.shipped(), advance(git, {"limit.txt": "20\n"})
    git.git("tag", "-a", "annotated", "-m", "a tag with an object of its own", first)

    assert repository.main() == second
    assert {repository.tree(name) for name in ("shipped", "annotated", "main^", first[:10])} == {repository.tree(first)}


@pytest.mark.parametrize("key", ["", "a..b", "-\n", "k\ndelete refs/heads/main", "a b", "x.lock"])
def test_a_key_that_cannot_be_a_ref_is_refused(key: str, git: GitWorld, repository: ServiceRepository) -> None:
    before = git.refs()
    with pytest.raises(Invalid, match="cannot name a commit"):
        repository.roll_back("main", "main", key, "m")
    assert git.refs() == before


# --- writing ---------------------------------------------------------------------------------------------------------

MESSAGE = "Take back the limit\n\nWarum: zu groß\n\nTicket: INF-1\nAttempt: 1\nLedger-Head: 7 abc\n"


def test_a_revert_takes_back_one_commit_and_carries_its_trailers(
    git: GitWorld, repository: ServiceRepository, tmp_path: Path
) -> None:
    # given a bad commit with a good one on top
    bad = advance(git, {"limit.txt": "99\n"})
    good = advance(git, {"other.txt": "2\n"})

    # when the bad one is taken back on a branch
    new = repository.revert(bad, good, "harness/INF-1/1", "INF-1/1/step-3", MESSAGE)

    # then only its own change is gone, and main has not moved
    assert (git.read(new, "limit.txt"), git.read(new, "other.txt")) == ("10", "2")
    assert git.git("rev-parse", f"{new}^") == good == repository.main()
    assert git.git("rev-parse", "refs/heads/harness/INF-1/1") == new
    assert git.git("show", "--no-patch", "--format=%an <%ae> %cn <%ce>", new) == " ".join(
        ["harness <harness@localhost>"] * 2
    )
    assert git.git("cat-file", "commit", new).endswith(MESSAGE.strip())
    trailers = git.git("show", "--no-patch", "--format=%(trailers:key=Ticket,key=Ledger-Head)", new)
    assert trailers.splitlines() == ["Ticket: INF-1", "Ledger-Head: 7 abc"]
    assert nothing_left(tmp_path, git)


def test_the_same_key_again_gives_the_same_commit(git: GitWorld, repository: ServiceRepository) -> None:
    bad = advance(git, {"limit.txt": "99\n"})
    side = git.commit({"side.txt": "1"}, onto="shipped")

    def make(message: str) -> list[str]:
        return [
            repository.revert(bad, bad, "harness/INF-1/1", "INF-1/1/step-3", message),
            repository.merge(side, bad, "INF-2/1/test"),
            repository.roll_back("shipped", bad, "INF-3/1/rollback", message),
        ]

    first, again = make("The first try"), make("The second one, that would make other commits")

    assert again == first
    made = [line for line in git.git("log", "--all", "--format=%an").splitlines() if line == "harness"]
    assert len(made) == 3
    assert {name for name in git.refs() if name.startswith("refs/harness/")} == {
        "refs/harness/INF-1/1/step-3",
        "refs/harness/INF-2/1/test",
        "refs/harness/INF-3/1/rollback",
    }


def _revert_at_once(paths: tuple[str, str], bad: str, key: str, said: multiprocessing.Queue[str]) -> None:
    repository = ServiceRepository(Path(paths[0]), Path(paths[1]))
    said.put(repository.revert(bad, bad, f"harness/{key}", key, f"by {os.getpid()}"))


def test_two_processes_with_one_key_make_one_commit(git: GitWorld, tmp_path: Path) -> None:
    # given a retry that begins while the first try is still at it
    bad = advance(git, {"limit.txt": "99\n"})
    context = multiprocessing.get_context("fork")
    said: multiprocessing.Queue[str] = context.Queue()
    paths = (str(git.path), str(tmp_path / "worktrees"))
    tries = [context.Process(target=_revert_at_once, args=(paths, bad, "INF-1/1/s", said)) for _ in range(4)]
    for process in tries:
        process.start()
    answers = {said.get(timeout=60) for _ in tries}
    for process in tries:
        process.join(timeout=60)

    # then all have the commit that is named by the key, and its branch stands there
    assert answers == {git.refs()["refs/harness/INF-1/1/s"]} == {git.refs()["refs/heads/harness/INF-1/1/s"]}
    assert nothing_left(tmp_path, git)


def test_key_and_branch_are_written_together_or_not_at_all(git: GitWorld, repository: ServiceRepository) -> None:
    # given a branch that cannot be written just now, as a git process that was killed has left its lock
    bad = advance(git, {"limit.txt": "99\n"})
    lock = git.path / "refs/heads/harness/INF-1/1.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()

    # when the revert comes as far as writing both
    with pytest.raises(Retryable, match="INF-1/1/step-3"):
        repository.revert(bad, bad, "harness/INF-1/1", "INF-1/1/step-3", "Take back")

    # then the key names nothing either, so the retry does it whole
    assert "refs/harness/INF-1/1/step-3" not in git.refs()
    lock.unlink()
    new = repository.revert(bad, bad, "harness/INF-1/1", "INF-1/1/step-3", "Take back")
    assert git.refs()["refs/heads/harness/INF-1/1"] == git.refs()["refs/harness/INF-1/1/step-3"] == new


def test_a_revert_in_conflict_names_the_files(git: GitWorld, repository: ServiceRepository, tmp_path: Path) -> None:
    bad = advance(git, {"limit.txt": "99\n", "two words.txt": "bad\n", "other.txt": "2\n"})
    later = advance(git, {"limit.txt": "100\n", "two words.txt": "worse\n"})

    with pytest.raises(Refused, match=r"later changes stand in the way in limit\.txt, two words\.txt$"):
        repository.revert(bad, later, "harness/INF-1/1", "INF-1/1/step-3", "Take back")

    assert not [name for name in git.refs() if "harness" in name]
    assert nothing_left(tmp_path, git)


def test_what_is_taken_back_already_is_not_taken_back_again(git: GitWorld, repository: ServiceRepository) -> None:
    bad = advance(git, {"limit.txt": "99\n"})
    back = repository.revert(bad, bad, "harness/INF-1/1", "INF-1/1/s", "Take back")

    with pytest.raises(Refused, match="nothing of it is left there"):
        repository.revert(bad, back, "harness/INF-2/1", "INF-2/1/s", "Take back again")


def test_the_revert_of_a_merge_takes_back_what_it_brought(git: GitWorld, repository: ServiceRepository) -> None:
    side = git.commit({"side.txt": "1"}, onto=git.commit({"limit.txt": "99\n"}, onto="shipped"))
    main = advance(git, {"other.txt": "2\n"})
    merged = repository.merge(side, main, "INF-1/1/test")

    back = repository.revert(merged, merged, "harness/INF-2/1", "INF-2/1/s", "Take back INF-1")

    assert repository.tree(back) == repository.tree(main)


def test_a_change_on_top_of_main_is_its_own_merge(git: GitWorld, repository: ServiceRepository) -> None:
    change = git.commit({"limit.txt": "20\n"}, onto="main")

    assert repository.merge(change, "main", "INF-1/1/test") == change
    assert not [name for name in git.refs() if "harness" in name]


def test_a_merge_has_both_as_parents_and_names_its_key(git: GitWorld, repository: ServiceRepository) -> None:
    side = git.commit({"side ä.txt": "1"}, onto="main")
    main = advance(git, {"limit.txt": "20\n"})

    merged = repository.merge(side, main, "INF-1/1/test")

    assert git.git("show", "--no-patch", "--format=%P", merged).split() == [main, side]
    assert (git.read(merged, "limit.txt"), git.read(merged, "side ä.txt")) == ("20", "1")
    assert git.git("show", "--no-patch", "--format=%(trailers:key=Harness-Key)", merged) == "Harness-Key: INF-1/1/test"
    assert repository.main() == main


def test_a_merge_in_conflict_names_the_files(git: GitWorld, repository: ServiceRepository, tmp_path: Path) -> None:
    side = git.commit({"limit.txt": "30\n", "other.txt": None}, onto="main")
    main = advance(git, {"limit.txt": "20\n", "other.txt": "2\n"})

    with pytest.raises(Refused, match=r"conflict in limit\.txt, other\.txt$"):
        repository.merge(side, main, "INF-1/1/test")

    assert nothing_left(tmp_path, git)


def test_a_roll_back_has_the_tree_of_before_on_top_of_after(git: GitWorld, repository: ServiceRepository) -> None:
    before = repository.main()
    after = advance(git, {"limit.txt": "99\n", "new.txt": "1"})

    new = repository.roll_back(before, after, "INF-1/1/rollback", MESSAGE)

    assert repository.tree(new) == repository.tree(before)
    assert git.git("show", "--no-patch", "--format=%P|%an|%cn", new) == f"{after}|harness|harness"
    assert git.git("cat-file", "commit", new).endswith(MESSAGE.strip())


def test_main_moves_only_from_where_it_was_seen(git: GitWorld, repository: ServiceRepository) -> None:
    seen = repository.main()
    mine = git.commit({"limit.txt": "20\n"}, onto=seen)
    theirs = advance(git, {"limit.txt": "30\n"})

    with pytest.raises(Forbidden, match=f"main is at {theirs[:12]}, no longer at {seen[:12]}"):
        repository.move_main(seen, mine)
    assert repository.main() == theirs

    repository.move_main(theirs, mine)
    assert repository.main() == mine


def test_a_main_that_git_cannot_write_is_not_said_to_have_moved(git: GitWorld, repository: ServiceRepository) -> None:
    seen = repository.main()
    mine = git.commit({"limit.txt": "20\n"}, onto=seen)
    lock = git.path / "refs/heads/main.lock"
    lock.touch()

    with pytest.raises(Retryable, match=r"main\.lock"):
        repository.move_main(seen, mine)

    lock.unlink()
    repository.move_main(seen, mine)
    assert repository.main() == mine


def test_hooks_never_run(git: GitWorld, repository: ServiceRepository, tmp_path: Path) -> None:
    # given commits, and then every hook there is, in the repository and where its settings point to
    bad = git.git("commit-tree", "main^{tree}", "-p", "main", "-m", "no change")
    side = git.commit({"side.txt": "1"}, onto="main")
    other = git.commit({"limit.txt": "99\n"}, onto="main")
    elsewhere = tmp_path / "hooks"
    names = ("post-checkout", "pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "pre-merge-commit",
             "post-merge", "reference-transaction", "post-rewrite", "post-index-change", "update")  # fmt: skip
    for name in names:
        for folder in (git.path / "hooks", elsewhere):
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran-{name}'\nexit 1\n")
            (folder / name).chmod(0o755)

    # when every kind of commit is made, then not one of them has run
    for settings in (None, str(elsewhere)):
        if settings:
            git.git("config", "core.hooksPath", settings)
        key = "two" if settings else "one"
        repository.revert(other, other, f"harness/{key}", f"{key}/s", "Take back")
        merged = repository.merge(side, bad, f"{key}/test")
        rolled = repository.roll_back(bad, merged, f"{key}/rollback", "Roll back")
        repository.move_main(repository.main(), rolled)

    assert not list(tmp_path.glob("ran-*"))


# --- what a killed process leaves ------------------------------------------------------------------------------------

_DIE_IN_A_WORKTREE = """
import os, signal, sys
from pathlib import Path
from harness.adapters.worktree import ServiceRepository
repository = ServiceRepository(Path(sys.argv[1]), Path(sys.argv[2]))
with repository._worktree(repository.main()):
    print("inside", flush=True)
    signal.pause()
"""


def test_the_worktree_of_a_killed_process_is_cleaned_up_and_that_of_a_living_one_is_not(
    git: GitWorld, repository: ServiceRepository, tmp_path: Path
) -> None:
    # given two processes in the middle of their work, one of which is killed
    bad = advance(git, {"limit.txt": "99\n"})
    command = [sys.executable, "-c", _DIE_IN_A_WORKTREE, str(git.path), str(tmp_path / "worktrees")]
    dying, living = (subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2))
    try:
        for process in (dying, living):
            assert process.stdout is not None and process.stdout.readline() == "inside\n"
        assert len(list((tmp_path / "worktrees").iterdir())) == 2
        dying.send_signal(signal.SIGKILL)
        dying.wait()

        # when the next one works, then it is not in its way, and its folder is gone
        assert repository.revert(bad, bad, "harness/INF-1/1", "INF-1/1/s", "Take back")
        assert len(list((tmp_path / "worktrees").iterdir())) == 1
    finally:
        for process in (dying, living):
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    # and once the other one is dead, too, nothing is left, neither here nor in git's own list
    repository.revert(bad, bad, "harness/INF-2/1", "INF-2/1/s", "Take back")
    assert nothing_left(tmp_path, git)


# --- files -----------------------------------------------------------------------------------------------------------


def odd(git: GitWorld) -> str:
    """A commit with a link out of the tree, a link to a folder, a program, a submodule, and bytes that are no text."""
    files: dict[str, str | bytes | None] = {
        "out": "/etc/passwd", "folder": "src", "src/a.py": "a = 1\n", "run.sh": "#!/bin/sh\n", "bytes": b"\xff\xfe",
        "nul": b"a\0b", "-x": "dash\n", "grüße.txt": "grüße\n",
    }  # fmt: skip
    modes = {"out": "120000", "folder": "120000", "run.sh": "100755"}
    return git.commit(files, onto="main", branch="main", modes=modes)


def test_links_are_neither_listed_nor_read_nor_written_through(git: GitWorld, repository: ServiceRepository) -> None:
    at = odd(git)
    assert {"out", "folder"}.isdisjoint(repository.files(at)) and {"src/a.py", "grüße.txt"} <= set(repository.files(at))
    for path in ("out", "folder"):
        with pytest.raises(Refused, match="is no plain file"):
            repository.read(at, path)
        with pytest.raises(Refused, match="is no plain file"):
            repository.write(path, "x", at, "harness/I-1/1", f"I-1/1/{path}", "m")
    for path in ("folder/a.py", "out/x", "src", "src/a.py/x", ".git/hooks/x", "../x", "/x", "a/../../x"):
        with pytest.raises(Refused, match="cannot be a file in the tree"):
            repository.write(path, "x", at, "harness/I-1/1", "I-1/1/step-1", "m")
    assert not any(name.startswith("refs/h") and "harness/" in name for name in git.refs())


@pytest.mark.parametrize("path", ["bytes", "nul"])
def test_what_is_no_text_is_not_read(path: str, git: GitWorld, repository: ServiceRepository) -> None:
    with pytest.raises(Refused, match="is no text"):
        repository.read(odd(git), path)


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * (1024 * 1024 + 1)])
def test_what_is_no_text_is_not_written(text: str, repository: ServiceRepository) -> None:
    with pytest.raises(Refused):
        repository.write("a.txt", text, "main", "harness/I-1/1", "I-1/1/step-1", "m")


def test_a_written_file_keeps_its_mode_and_every_byte(git: GitWorld, repository: ServiceRepository) -> None:
    at = odd(git)
    text = "#!/bin/sh\r\n\techo ä  \n\n"
    commit = repository.write("run.sh", text, at, "harness/I-1/1", "I-1/1/step-1", "Change run.sh\n")
    assert repository.read(commit, "run.sh") == text and git.git("ls-tree", commit, "run.sh").startswith("100755")
    dash = repository.write("-x", "other\n", commit, "harness/I-1/1", "I-1/1/step-2", "m")
    assert git.refs()["refs/heads/harness/I-1/1"] == dash == git.refs()["refs/harness/I-1/1/step-2"]
    assert git.git("diff", "--name-only", at, dash).splitlines() == ["-x", "run.sh"]


def test_a_search_finds_lines_in_text_files_alone_and_takes_nothing_for_an_option(
    git: GitWorld, repository: ServiceRepository
) -> None:
    at = odd(git)
    assert [(hit.path, hit.line, hit.text) for hit in repository.search(at, "a = ")] == [("src/a.py", 1, "a = 1")]
    assert [hit.path for hit in repository.search(at, "grüße")] == ["grüße.txt"]
    assert repository.search(at, "/etc/passwd") == [] == repository.search(at, "--help")
    with pytest.raises(Refused):
        repository.search(at, "a\0b")


def test_a_file_that_was_written_before_a_kill_is_not_written_twice(
    git: GitWorld, repository: ServiceRepository, tmp_path: Path
) -> None:
    first = repository.write("limit.txt", "20\n", "main", "harness/I-1/1", "I-1/1/step-1", "m")
    again = ServiceRepository(git.path, tmp_path / "worktrees")
    assert again.write("limit.txt", "30\n", "main", "harness/I-1/1", "I-1/1/step-1", "m") == first
    assert nothing_left(tmp_path, git)


def test_no_words_of_an_agent_become_a_trailer_of_its_commit(repository: ServiceRepository) -> None:
    for number, text in enumerate(HOSTILE.values()):
        words = text[:2000]
        message = f"{commit_message(words, words)}\n\nAgent: model\nLedger-Head: the real one\n"
        main, key = repository.main(), f"INF-1/{number}"
        repository.write("limit.txt", f"text {number}\n", main, "harness/INF-1/1", key, message)
    assert {value for _, value in repository.trailers("Ledger-Head")} == {"the real one"}
    assert len(repository.trailers("Ledger-Head")) == len(HOSTILE)
    assert repository.trailers("Ticket") == [] == repository.trailers("Signed-off-by")
