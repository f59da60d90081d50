# Reads the output of `cargo test --no-fail-fast`. For each failed test, prints the command that runs it again, as
# one line to copy. A test that draws random numbers prints `again: NAME=value`, which is put in front of the
# command. `again: cargo …` is a command of its own. The messages of the failed tests come after the commands,
# because the log before them is long.

BEGIN { MOST = 8 }

# The names of the failed tests of a target are indented, between the last of these lines and the result.
/^failures:$/ { count = 0; is_list = 1; next }
is_list && /^    [^ ]/ { names[++count] = substr($0, 5); next }
/^---- / { is_list = 0; test = $2 }

# The message of a panic has at most eight lines. It ends at the next panic, a stack, a note, the line of another test
# or an empty line.
/ panicked at / { if (test != "") said = said "  " test ": "; lines = MOST }
/^$/ || /^note: / || /^test / || /^stack backtrace:/ { lines = 0 }
lines > 0 { said = said (lines == MOST ? "" : "    ") substr($0, 1, 500) "\n"; lines-- }
/^test result: FAILED/ { is_list = 0; is_red = 1; test = "" }
/^test result: ok/ { is_list = count = is_red = 0; drawn = ""; own = ""; said = kept; test = "" }

/^again: [A-Z_0-9]+=[^ ]*$/ { drawn = drawn substr($0, 8) " "; next }
/^again: / { own = own "  " substr($0, 8) "\n"; next }

/^error: (test|doctest) failed, to rerun pass `/ {
    target = $0
    sub(/^[^`]*`/, "", target)
    sub(/`.*/, "", target)
    # A test process that ended early has printed no names of failed tests.
    if (!is_red || count == 0) {
        red = red "  " drawn "cargo test --profile prove --all-features " target "\n"
    } else {
        for (i = 1; i <= count; i++) {
            name = names[i]
            gsub(/'/, "'\\''", name)
            red = red "  " drawn "cargo test --profile prove --all-features " target " -- --exact '" name "'\n"
        }
    }
    red = red own
    is_list = count = is_red = 0; drawn = ""; own = ""
    kept = said
}

END {
    if (red != "") printf "\nagain, each of those that failed:\n%s", red
    if (kept != "") printf "\nwhat each said:\n%s", kept
}
