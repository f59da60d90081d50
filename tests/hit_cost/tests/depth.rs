//! Recursion depth of a function under `#[cached(local)]`, in a release build like that of a user.

use std::process::Command;

use program::build;

mod program;

/// Number of levels that must fit into 2 MiB of stack.
const DEPTH: usize = 4500;

#[test]
fn recursive_function_reaches_depth_on_default_stack() {
    let program = build();
    let bytes = |depth: usize| {
        let run = Command::new(&program).args(["fib", &depth.to_string()]).output().unwrap();
        assert!(run.status.success(), "{depth} levels: {run:?}");
        String::from_utf8_lossy(&run.stdout).trim().parse::<usize>().unwrap()
    };
    let each = bytes(300);
    println!("{each} bytes of stack for each level");
    assert!(each * DEPTH < (2 << 20) / 20 * 19, "{each} bytes of stack for each level");
    bytes(DEPTH);
}
