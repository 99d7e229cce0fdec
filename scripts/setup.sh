#!/bin/sh
# Makes this checkout ready: .venv as requirements.lock says, and the programs that no lock can hold.
# Writes only .venv here; a Debian package is installed only when its program is missing, and is named first.
# `setup.sh tests` sees that the tests have a PostgreSQL, too (as an image of a Docker engine, or of this machine), and an
# Alertmanager.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 4; }

install_package() { # $1: Debian package, $2: what needs it
    command -v apt-get >/dev/null ||
        die "'$1' is not installed ($2). There is no apt-get here: install it by your own package manager, then run this again."
    if [ "$(id -u)" -eq 0 ]; then root=
    elif command -v sudo >/dev/null; then root=sudo
    else die "'$1' is not installed ($2), and installing needs root: run 'apt-get install $1' as root, then this again."
    fi
    say "installing the Debian package '$1' by apt-get ($2)"
    $root apt-get update -qq
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >&2
}

stop_service() { # $1: what the package of that name has started by itself
    if [ -d /run/systemd/system ]; then stop="systemctl disable --now $1"; else stop="service $1 stop"; fi
    $root $stop >&2 || say "the package's own service $1 could not be stopped (harmless unless it takes memory)"
}

command -v "$python" >/dev/null || die "'$python' is not on PATH. Name another Python, 3.11 or newer: make PYTHON=python3.12 …"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "Python 3.11 or newer is needed; '$python' is $("$python" -V 2>&1). Name another one: make PYTHON=python3.12 …"
command -v git >/dev/null || die "git is not on PATH; releases and changes live in git."
command -v bwrap >/dev/null || install_package bubblewrap "the sandbox for everything that an agent wrote"
if [ -z "${PROMETHEUS_URL:-}" ] && ! command -v prometheus >/dev/null; then
    install_package prometheus "measurements; not needed when PROMETHEUS_URL names a running one"
    stop_service prometheus # the harness starts a private one per HARNESS_HOME instead
fi
has_postgresql() {
    for program in /usr/lib/postgresql/1[5-9]/bin/postgres /usr/lib/postgresql/[2-9][0-9]/bin/postgres; do
        [ ! -x "$program" ] || return 0
    done
    command -v postgres >/dev/null || docker images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null |
        grep -Eq '(^|/)postgres:(1[5-9]|[2-9][0-9])'
}
if [ "${1:-}" = tests ] && ! has_postgresql; then
    install_package postgresql "the ledger's tests; they run a private server, as a user without rights"
    stop_service postgresql
fi
if [ "${1:-}" = tests ] && ! command -v prometheus-alertmanager >/dev/null && ! command -v alertmanager >/dev/null; then
    install_package prometheus-alertmanager "the tests of the webhook; they run a private one"
    stop_service prometheus-alertmanager
fi

usable() { # is there a .venv made here (it holds absolute paths, so not a moved one), by the Python that was asked for
    grep -qsF "$PWD/.venv" .venv/pyvenv.cfg || return 1
    have=$(.venv/bin/python -VV 2>/dev/null) || return 1
    [ -z "${PYTHON:-}" ] || [ "$have" = "$("$python" -VV)" ]
}
if ! usable; then
    "$python" -c 'import ensurepip' 2>/dev/null || install_package python3-venv "making .venv"
    say "making .venv"
    "$python" -m venv --clear .venv
fi
state=$(cat requirements.lock pyproject.toml services/*/pyproject.toml scripts/setup.sh | git hash-object --stdin)
[ "$(cat .venv/setup-state 2>/dev/null || true)" != "$state" ] || exit 0

if [ ! -x .venv/bin/uv ]; then
    awk '/^[^ #]/ { wanted = /^uv==/ } wanted' requirements.lock >.venv/uv.lock
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.lock
fi
say "installing the Python packages of requirements.lock into .venv (every one pinned by hash)"
# uv reads none of pip's settings; a mirror that pip was told of is meant for both.
index=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)}}
[ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
# Compiled here: else every part of the first stack compiles its imports itself, which took four of them over 30 s.
.venv/bin/uv pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes requirements.lock
set --
for project in ./pyproject.toml services/*/pyproject.toml; do set -- "$@" --editable "${project%/*}"; done
# The build backend is in the lock too, so nothing is fetched here.
.venv/bin/uv pip install --quiet --offline --python .venv/bin/python --no-deps --no-build-isolation "$@"
echo "$state" >.venv/setup-state
say "ready"
