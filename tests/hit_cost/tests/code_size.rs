//! Limit on the code that a further cached function adds to a program.
//!
//! The lines that rustc generates for LLVM are counted, over all units of a release build. Their number determines
//! the time of a build, and largely the size of the program. It does not depend on the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use program::{folder, libraries};

mod program;

/// Functions by which two of the programs differ.
const FUNCTIONS: usize = 6;

/// Lines that each function of a feature of `functions.rs` adds, at the last measurement.
///
/// A change that makes functions smaller should also lower the figures here.
const MEASURED: [(&str, usize); 2] = [("more-functions", 6759), ("more-types", 16704)];

/// Tolerance in percent, because other compilers and dependencies give slightly different counts.
const MARGIN: usize = 12;

#[test]
fn further_function_adds_no_more_code_than_measured() {
    let libraries = libraries(["cached_aside", "serde"]);
    let few = lines(None, &libraries);
    let mut too_many = Vec::new();
    for (feature, measured) in MEASURED {
        let each = (lines(Some(feature), &libraries) - few) / FUNCTIONS;
        println!("{feature}: {each} lines for each function, measured {measured}");
        if each * 100 > measured * (100 + MARGIN) {
            too_many.push(format!("{feature}: {each}, and {measured} when it was measured"));
        }
    }
    assert!(too_many.is_empty(), "{}", too_many.join("; "));
}

/// Counts the lines that rustc generates for LLVM.
fn lines(feature: Option<&str>, [cached_aside, serde]: &[PathBuf; 2]) -> usize {
    let output = folder().join(format!("functions-{}", feature.unwrap_or("alone")));
    // It may have files of an earlier run.
    let _ = fs::remove_dir_all(&output);
    fs::create_dir_all(&output).expect("this is a folder of these tests");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/functions.rs");
    let mut rustc = Command::new(Path::new(env!("CARGO")).with_file_name("rustc"));
    rustc.arg(source).args(["--crate-name", "functions", "--crate-type", "bin", "--edition", "2024"]);
    // As in a release build. Without the passes, LLVM writes its input as it is.
    rustc.args(["-Copt-level=3", "-Ccodegen-units=16", "--emit=llvm-ir", "-Cno-prepopulate-passes"]);
    rustc.arg("--extern").arg(format!("cached_aside={}", cached_aside.display()));
    rustc.arg("--extern").arg(format!("serde={}", serde.display()));
    rustc.arg("-L").arg(format!("dependency={}", folder().join("release/deps").display()));
    rustc.args(feature.map(|feature| format!("--cfg=feature=\"{feature}\"")));
    let status = rustc.arg("--out-dir").arg(&output).status();
    assert!(status.is_ok_and(|status| status.success()), "the program could not be compiled: {rustc:?}");
    let files = fs::read_dir(&output).expect("this is a folder of these tests");
    let files = files.map(|file| file.expect("the folder can be read").path());
    let is_code = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "ll");
    let texts =
        files.filter(is_code).map(|path| fs::read_to_string(path).expect("the compiler has written it"));
    // The lines in a function are indented.
    texts.map(|text| text.lines().filter(|line| line.starts_with("  ")).count()).sum()
}
