"""Makes a service's git repository from the patches in the checkout. Never touches a repository that exists already.

The history is kept as patches, because a repository inside a repository cannot be. The same patches give the same
commits everywhere: the committer is fixed and commits at the author's time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from harness.core.errors import Broken

COMMITTER = {"GIT_COMMITTER_NAME": "harness", "GIT_COMMITTER_EMAIL": "harness@localhost"}
NOT_CONTENT = (
    "__pycache__/",
    ".pytest_cache/",
    ".hypothesis/",
    ".mypy_cache/",
    ".ruff_cache/",
    "*.egg-info/",
    ".venv/",
)
BRANCH = "main"
SHIPPED = "shipped"
"""The tag of the commit that equals the folder, wherever main moves later."""


def make_service_repository(*, history: Path, folder: Path, repository: Path) -> str:
    """Makes the bare ``repository`` with branch main from ``history``/*.patch, in their order; returns main's hash.

    ``folder`` is the service as the checkout shows it; main's tree must be the same. Raises Broken, and makes nothing,
    for a folder without patches, a patch that does not apply, or a path that differs.
    """
    if not repository.exists():
        repository.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, so that the rename at the end is one step.
        draft = Path(tempfile.mkdtemp(prefix=f".{repository.name}.", dir=repository.parent))
        try:
            _apply(history, draft / "bare", draft / "work")
            require_same_tree(draft / "bare", folder)
            (draft / "bare").rename(repository)
        finally:
            shutil.rmtree(draft)
    return _git(repository, "rev-parse", BRANCH).strip()


def require_same_tree(repository: Path, folder: Path) -> None:
    """Raises Broken, with the first path that differs, unless main's tree is what lies in ``folder`` (caches aside)."""
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch) / "index"), "GIT_WORK_TREE": str(folder.resolve())}
        _git(repository, "read-tree", BRANCH, env=index)
        _git(repository, "update-index", "-q", "--refresh", env=index, cwd=folder, may_fail=True)
        changed = _git(repository, "diff-files", "--name-only", "-z", env=index, cwd=folder)
        excluded = (f"--exclude={pattern}" for pattern in NOT_CONTENT)
        ignore_files = "--exclude-per-directory=.gitignore"
        added = _git(repository, "ls-files", "--others", "-z", *excluded, ignore_files, env=index, cwd=folder)
    different = sorted(path for path in (changed + added).split("\0") if path)
    if different:
        raise Broken(
            f"{folder / different[0]}: is not as in branch {BRANCH} of {repository.name} "
            f"({len(different)} paths differ); the patches in {folder.name}.history must end in this folder"
        )


def _apply(history: Path, bare: Path, work: Path) -> None:
    patches = sorted(history.glob("*.patch"))
    if not patches:
        raise Broken(f"{history}: holds no *.patch; the service's history is missing from this checkout")
    _run("init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(bare))
    _run("init", "--quiet", f"--initial-branch={BRANCH}", str(work))
    command = (
        "am",
        "--quiet",
        "--keep-non-patch",
        "--committer-date-is-author-date",
        "--keep-cr",
        "--whitespace=nowarn",
    )
    _run(*command, *(str(patch.resolve()) for patch in patches), cwd=work)
    _run("tag", SHIPPED, cwd=work)
    _run("push", "--quiet", str(bare), BRANCH, SHIPPED, cwd=work)


def _git(
    repository: Path, *words: str, env: dict[str, str] | None = None, cwd: Path | None = None, may_fail: bool = False
) -> str:
    git_dir = {"GIT_DIR": str(repository.resolve())}
    return _run(*words, env={**git_dir, **(env or {})}, cwd=cwd, may_fail=may_fail)


def _run(*words: str, env: dict[str, str] | None = None, cwd: Path | None = None, may_fail: bool = False) -> str:
    """Git without anyone's settings: hooks, signing or line endings of this user must not change the commits."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    nobody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    answer = subprocess.run(
        ["git", *words],
        env={**environ, **nobody, **COMMITTER, **(env or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0 and not may_fail:
        raise Broken(f"git {' '.join(words[:2])}: {(answer.stderr or answer.stdout).strip()}")
    return answer.stdout
