//! What the compiler says about each mistake.

/// The messages are those of rustc 1.95.
#[test]
fn mistakes() {
    trybuild::TestCases::new().compile_fail("ui/fail/*.rs");
}
