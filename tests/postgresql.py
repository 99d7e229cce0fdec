"""A PostgreSQL server for the tests: in a container where a Docker engine has an image of it, else of this machine.

Touches only a folder of its own and a loopback port. Never a reason to skip: without a server, what needs it fails.
"""

from __future__ import annotations

import getpass
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import docker
import psycopg
from docker.errors import DockerException
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.config import testcontainers_config

OLDEST = 15
START_S = 60.0
ROLE = "harness"


class Server(Protocol):
    """A running server that takes the role ``harness`` in."""

    port: int

    def restart(self) -> None:
        """Every connection ends; serves again, at the same port, when it returns."""


@contextmanager
def server() -> Iterator[Postgresql]:
    """A server until the end of the block. Raises RuntimeError, with the way out, where none can be started."""
    image = newest_image()
    with contained(image) if image else on_this_machine() as started:
        yield Postgresql(started)


class Postgresql:
    """Databases of one server, each new and empty."""

    def __init__(self, started: Server) -> None:
        self.restart = started.restart
        self._port = started.port
        self._made = 0

    def url(self) -> str:
        """Where a ledger can be made: a database of its own."""
        self._made += 1
        with self.session() as session:
            session.execute(f"CREATE DATABASE ledger_{self._made} ENCODING 'UTF8' TEMPLATE template0")
        return self.url_of(f"ledger_{self._made}")

    def url_of(self, database: str) -> str:
        """How a ledger reaches a database."""
        return f"postgresql+psycopg://{ROLE}:{ROLE}@127.0.0.1:{self._port}/{database}"

    def session(self, url: str = "/postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """A hand in the database of a URL: the owner's, and each statement a transaction."""
        return connected(self._port, url.rpartition("/")[2])


def connected(port: int, database: str) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(
        host="127.0.0.1", port=port, dbname=database, user=ROLE, password=ROLE, autocommit=True, connect_timeout=10
    )


def newest_image() -> str | None:
    """The newest image of a new enough server that the Docker engine here has; None without engine or image."""
    try:
        client = docker.from_env(timeout=5)
        tags = [tag for image in client.images.list() for tag in image.tags]
        client.close()
    except DockerException:
        return None
    images = [(int(match[1]), tag) for tag in tags if (match := re.fullmatch(r"(?:.*/)?postgres:(\d+)\b.*", tag))]
    return max((image for image in images if image[0] >= OLDEST), default=(0, None))[1]


class Container:
    """The server in a container."""

    def __init__(self, container: PostgresContainer, port: int) -> None:
        self.port = port
        self._container = container

    def restart(self) -> None:
        self._container.get_wrapped_container().restart()
        wait_until_it_serves(self.port)


@contextmanager
def contained(image: str) -> Iterator[Container]:
    testcontainers_config.ryuk_disabled = True  # it would pull an image; the block's end removes the container
    port = free_port()
    container = PostgresContainer(image, username=ROLE, password=ROLE, dbname="postgres", driver="psycopg")
    with container.with_bind_ports(5432, port) as running:
        wait_until_it_serves(port)
        yield Container(running, port)


class Local:
    """The server of this machine's packages, on data of its own, as durable as in production."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._as_user = ["setpriv", *unprivileged(), "--pdeathsig", "QUIT", "--"]
        self._server = [
            *(str(programs / "postgres"), "-D", str(folder / "data"), "-k", str(folder), "-p", str(self.port)),
            *("-c", "listen_addresses=127.0.0.1", "-c", "log_min_messages=fatal"),
        ]
        (folder / "password").write_text(ROLE)
        made = subprocess.run(
            [
                *self._as_user,
                *(str(programs / "initdb"), "-D", str(folder / "data"), "-U", ROLE),
                *("--pwfile", str(folder / "password"), "--auth=scram-sha-256"),
                *("--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            raise RuntimeError(f"initdb made no server: {made.stderr}")
        self._start()

    def restart(self) -> None:
        self.stop(signal.SIGINT)
        self._start()

    def stop(self, how: signal.Signals) -> None:
        """SIGINT breaks off what is open and shuts down; SIGQUIT is a crash."""
        self._process.send_signal(how)
        self._process.wait(timeout=START_S)

    def _start(self) -> None:
        with Path(self._folder, "log").open("ab") as log:
            self._process = subprocess.Popen([*self._as_user, *self._server], cwd=self._folder, stdout=log, stderr=log)
        wait_until_it_serves(self.port)


@contextmanager
def on_this_machine() -> Iterator[Local]:
    programs = newest_programs()
    # Not below pytest's own folder: no other user may look into that, and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    shutil.chown(folder, owner())
    try:
        local = Local(programs, folder)
        try:
            yield local
        finally:
            local.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder)


def newest_programs() -> Path:
    """Where Debian keeps the programs of each version, outside PATH; or the folder on PATH that has them."""
    found = [(int(path.parent.name), path) for path in Path("/usr/lib/postgresql").glob("[0-9]*/bin")]
    here = [folder for version, folder in sorted(found) if version >= OLDEST and (folder / "postgres").exists()]
    if not here and (on_path := shutil.which("postgres")):
        here = [Path(on_path).parent]
    if not here:
        raise RuntimeError(
            f"no PostgreSQL {OLDEST} or newer is here, as a Docker engine's image or in /usr/lib/postgresql; "
            "`make test` installs it, or do so by `apt-get install postgresql`"
        )
    return here[-1]


def owner() -> str:
    """Who runs the server: it refuses root."""
    if os.geteuid() != 0:
        return getpass.getuser()
    return next((user.pw_name for user in pwd.getpwall() if user.pw_name == "postgres"), "nobody")


def unprivileged() -> list[str]:
    """How setpriv gets there."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(owner())
    return ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def wait_until_it_serves(port: int) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            connected(port, "postgres").close()
            return
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not serve on port {port}: {error}") from error
        time.sleep(0.05)
