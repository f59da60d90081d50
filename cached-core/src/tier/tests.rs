//! Tests of the requests to a tier.

use super::*;

/// An application's own tier may log its requests, so `Debug` must not show arguments of calls.
#[test]
fn debug_output_of_requests_shows_no_keys() {
    let (key, keys) = ("ns:user:ada@example.org", ["ns:%tag:ada@example.org".to_owned()]);
    let (token, lease) = (LeaseToken([7; 16]), Duration::from_secs(10));
    let outputs = [
        format!("{:?}", Lookup::if_none_match(key, 7)),
        format!("{:?}", LeaseRequest { key, token, lease, mode: LeaseMode::IfAbsent }),
        format!("{:?}", TagRequest { keys: &keys, keep: lease, needs_position: false }),
        format!("{:?}", Stored { bytes: key.into(), remaining: None, revision: 7 }),
        format!(
            "{:?}",
            TierFill { key: key.to_owned(), token, bytes: key.into(), ttl: lease, tags: keys.to_vec() }
        ),
    ];
    assert!(outputs.iter().all(|text| !text.contains("ada")), "{outputs:?}");
    assert!(outputs[1].contains("10s") && outputs[2].contains("keys: 1"), "{outputs:?}");
}
