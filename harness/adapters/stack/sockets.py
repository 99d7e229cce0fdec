"""Makes and removes the short private folder of a stack's Unix sockets. Opens no socket."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path

from harness.adapters.stack.home import Home


def make_sockets(home: Home) -> Path:
    """The folder that ``HOME/sockets`` points to, made when it is not there (a restart empties /tmp).

    An AF_UNIX path holds 107 bytes, so the folder has a short name of its own. Others may pass through it (a sandboxed
    release runs as another user) but not list it.
    """
    if home.sockets.is_symlink():
        folder = home.sockets.readlink()
        if folder.is_dir() and folder.stat().st_uid == os.getuid():
            return folder
        home.sockets.unlink()
    folder = Path(tempfile.gettempdir()) / f"h-{secrets.token_hex(4)}"
    folder.mkdir()
    folder.chmod(0o711)  # not by mkdir: the umask would take bits away
    home.sockets.symlink_to(folder)
    return folder


def remove_sockets(home: Home) -> None:
    """Removes the folder and the link to it; nothing happens when there is none."""
    if home.sockets.is_symlink():
        shutil.rmtree(home.sockets.readlink(), ignore_errors=True)
        home.sockets.unlink()
