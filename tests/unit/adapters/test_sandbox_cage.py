"""What a sandboxed process may see, read off its command line: not the host's root, and little that is writable."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from harness.adapters.sandbox.cage import Cage, limits

AS_ROOT, AS_USER = 61200, None


def cage(uid: int | None, *, dies_with_starter: bool = True) -> Cage:
    return Cage(
        venv=Path("/home/someone/var/venvs/abc"),
        uid=uid,
        read_only={"/head": Path("/srv/head")},
        writable={"/run/s": Path("/srv/sockets/one")},
        env={"ONLY": "this"},
        dies_with_starter=dies_with_starter,
    )


@pytest.mark.parametrize("uid", [AS_ROOT, AS_USER])
def test_the_root_of_the_host_is_never_bound(uid: int | None) -> None:
    words = cage(uid).command("bwrap")
    bound = [second for first, second in pairwise(words) if first in ("--ro-bind", "--bind")]
    assert "/" not in bound
    assert {"/etc", "/home", "/root", "/var", "/run", "/tmp"}.isdisjoint(bound)


@pytest.mark.parametrize("uid", [AS_ROOT, AS_USER])
def test_only_what_was_named_is_bound_writable(uid: int | None) -> None:
    words = cage(uid).command("bwrap")
    assert [second for first, second in pairwise(words) if first == "--bind"] == ["/srv/sockets/one"]
    assert words[words.index("--chdir") - 2 : words.index("--chdir")] == ["--remount-ro", "/"]


def test_every_folder_above_a_mount_is_open_so_that_the_interpreter_is_found_without_privileges() -> None:
    words = cage(AS_ROOT).command("bwrap")
    for folder in ("/home", "/home/someone", "/home/someone/var", "/home/someone/var/venvs"):
        at = words.index(folder)
        assert words[at - 3 : at] == ["--perms", "0755", "--dir"]
        assert at < max(i for i, word in enumerate(words) if word == "/home/someone/var/venvs/abc")


def test_the_environment_is_emptied_before_it_is_filled() -> None:
    words = cage(AS_USER).command("bwrap")
    assert words.index("--clearenv") < words.index("--setenv")
    assert words[words.index("ONLY") - 1 :][:3] == ["--setenv", "ONLY", "this"]


def test_root_drops_its_privileges_inside_and_makes_no_user_namespace() -> None:
    words = cage(AS_ROOT).command("bwrap")
    assert "--unshare-net" in words and "--unshare-all" not in words and "--unshare-user" not in words
    assert "--no-new-privs" in cage(AS_ROOT).drop() and f"--reuid={AS_ROOT}" in cage(AS_ROOT).drop()


def test_a_user_has_nothing_to_drop_and_unshares_everything() -> None:
    assert "--unshare-all" in cage(AS_USER).command("bwrap")
    assert cage(AS_USER).drop() == []


def test_only_a_check_dies_with_its_starter() -> None:
    assert "--die-with-parent" in cage(AS_ROOT, dies_with_starter=True).command("bwrap")
    assert "--die-with-parent" not in cage(AS_ROOT, dies_with_starter=False).command("bwrap")


def test_limits_are_on_data_and_processes() -> None:
    assert limits(memory_bytes=1024, processes=7)[1:] == ["--data=1024", "--nproc=7", "--core=0"]
