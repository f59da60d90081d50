//! The fuzz targets, run over fixed and pseudo-random bytes.

use super::*;

/// Number of pseudo-random inputs.
const ROUNDS: u64 = 4000;

/// Returns the inputs, which are the same in each run.
///
/// They have many lengths, and few or many different bytes.
fn inputs() -> impl Iterator<Item = Vec<u8>> {
    let fixed = [0_u8, 1, 2, 3, 7, b':', b'%', 0x7f, 0xff].map(|byte| vec![byte; 400]);
    let short = (0..=255_u8).map(|byte| vec![byte]);
    let mut state = 7_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let random = (0..ROUNDS).map(move |round| {
        let mask = if round % 2 == 0 { 0xff } else { 0x0f };
        let length = next() % 500;
        (0..length).map(|_| next().to_le_bytes()[0] & mask).collect()
    });
    fixed.into_iter().chain(short).chain([Vec::new()]).chain(random)
}

#[test]
fn trailer_target_holds_for_fixed_inputs() {
    inputs().for_each(|bytes| trailer(&bytes));
}

#[cfg(feature = "cluster")]
#[test]
fn cluster_map_target_holds_for_fixed_inputs() {
    inputs().for_each(|bytes| cluster_map(&bytes));
}

#[test]
fn pushes_target_holds_for_fixed_inputs() {
    inputs().for_each(|bytes| pushes(&bytes));
}
