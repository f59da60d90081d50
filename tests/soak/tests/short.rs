//! A short soak is flat, and one that leaks is not.

use std::process::{Command, Output};

fn soak(options: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_soak")).args(["--minutes", "0.2"]).args(options).output();
    let output = output.expect("it starts");
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn a_short_one_is_flat() {
    let output = soak(&[]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains(" 0 wrong"));
}

#[test]
fn a_leak_is_noticed() {
    let output = soak(&["--leak"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("GROWS: rss_kib") && said.contains("GROWS: tasks"), "{said}");
}
