#!/bin/sh
# Runs each fuzz target for the given number of seconds (60 by default), one after the other. If a target fails,
# the targets after it still run, and the exit status shows the failure. README.md in this folder has the details.
set -eu

# cargo-fuzz expects a folder `fuzz` beside a manifest.
cd "$(dirname "$0")/.."

seconds=${1:-60}
case $seconds in
'' | *[!0-9]*)
    echo "usage: $0 [seconds for each target]" >&2
    exit 2
    ;;
esac
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "cargo-fuzz is missing. Install it with: cargo install cargo-fuzz" >&2
    exit 1
fi

failed=
for target in $(cargo fuzz list); do
    echo "== $target: $seconds s"
    # Without a sanitizer, a stable compiler is enough.
    cargo fuzz run --sanitizer none "$target" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 || failed="$failed $target"
done
if [ -n "$failed" ]; then
    echo "failed:$failed (the inputs are in tests/fuzz/artifacts)" >&2
    exit 1
fi
