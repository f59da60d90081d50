//! A short soak is flat, and one that leaks is not.

use std::process::{Command, Output};

fn soak(options: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_soak")).args(["--minutes", "0.2"]).args(options).output();
    let output = output.expect("it starts");
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn short_soak_is_flat() {
    let output = soak(&[]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains(" 0 wrong"));
}

#[test]
fn leak_is_detected() {
    let output = soak(&["--leak"]);
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("GROWS: rss_kib") && stdout.contains("GROWS: tasks"), "{stdout}");
}
