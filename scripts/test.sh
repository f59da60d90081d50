#!/bin/sh
# Runs every test of the workspace. The tests start redis-server processes of their own, so it is installed
# first if it is missing.
set -eu

cd "$(dirname "$0")/.."

say_how() {
    cat >&2 <<'EOF'
The tests need redis-server, and it could not be installed. Install it with one of
    sudo apt-get install redis-server
    sudo dnf install redis
    brew install redis
so that `redis-server` is found on the PATH, and run this script again.
EOF
    exit 1
}

# Runs a command as root, if there is a way to.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        return 1
    fi
}

install_redis() {
    if command -v apt-get >/dev/null 2>&1; then
        as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y redis-server
    elif command -v dnf >/dev/null 2>&1; then
        as_root dnf install -y redis
    elif command -v brew >/dev/null 2>&1; then
        brew install redis
    else
        return 1
    fi
}

if ! command -v redis-server >/dev/null 2>&1; then
    echo "redis-server is missing: installing it" >&2
    install_redis || say_how
    command -v redis-server >/dev/null 2>&1 || say_how
fi
redis-server --version

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The exit status takes the way over a file, because that of a pipeline is the status of `tee`.
{ cargo test --workspace --all-features 2>&1 && echo 0 >"$scratch/status" || echo 1 >"$scratch/status"; } |
    tee "$scratch/log"

awk '/^test result: / { passed += $4; failed += $6; ignored += $8 }
     END { printf "\ntotal: %d passed, %d failed, %d ignored\n", passed, failed, ignored }' "$scratch/log"
exit "$(cat "$scratch/status")"
