#!/bin/sh
# Runs every test of the workspace, even if some fail. At the end, prints the command that runs each failed test
# again. The tests start redis-server processes of their own. On Linux, they also count instructions with valgrind.
# If one of the two programs is missing, the script installs it first.
set -eu

cd "$(dirname "$0")/.."

say_how() {
    cat >&2 <<'EOF'
The tests need redis-server, and on Linux valgrind, and they could not be installed. Install them with one of
    sudo apt-get install redis-server valgrind
    sudo dnf install redis valgrind
    brew install redis
so that they are found on the PATH, and run this script again.
EOF
    exit 1
}

# Runs a command as root, if that is possible.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        return 1
    fi
}

install() {
    if command -v apt-get >/dev/null 2>&1; then
        as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y redis-server valgrind
    elif command -v dnf >/dev/null 2>&1; then
        as_root dnf install -y redis valgrind
    elif command -v brew >/dev/null 2>&1; then
        brew install redis
    else
        return 1
    fi
}

has_all() {
    command -v redis-server >/dev/null 2>&1 || return 1
    [ "$(uname)" != Linux ] || command -v valgrind >/dev/null 2>&1
}

if ! has_all; then
    echo "redis-server or valgrind is missing: installing them" >&2
    install || say_how
    has_all || say_how
fi
redis-server --version

# Most tests wait for a server or for time to pass, so several of them can share a core.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-8}"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The exit status is passed in a file, because the status of the pipeline is that of `tee`.
{ cargo test --profile prove --workspace --all-features --no-fail-fast 2>&1 && echo 0 >"$scratch/status" || echo 1 >"$scratch/status"; } |
    tee "$scratch/log"

awk '/^test result: / { passed += $4; failed += $6; ignored += $8 }
     END { printf "\ntotal: %d passed, %d failed, %d ignored\n", passed, failed, ignored }' "$scratch/log"
awk -f tests/again.awk "$scratch/log"
exit "$(cat "$scratch/status")"
