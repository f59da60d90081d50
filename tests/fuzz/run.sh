#!/bin/sh
# Runs each fuzz target for so many seconds (60 if nothing is said), one after the other. A target that fails does not keep those
# after it from running; the exit status says whether one has failed. See README.md beside it.
set -eu

# cargo-fuzz looks for a folder `fuzz` beside a manifest.
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
