//! Tests: a key depends on its template and on all parts, and names and digests do not change.

use std::fmt;

use serde::{Serializer, ser::SerializeTuple};

use super::*;

const SPEC: FunctionSpec = FunctionSpec::prefix("user");
const OTHER_SPEC: FunctionSpec = FunctionSpec::prefix("users");

fn key(spec: &FunctionSpec, parts: &dyn WriteKey) -> OwnedKey {
    KeyRef::encode(&mut b"before".to_vec(), spec, parts).expect("a key").owned()
}

/// Returns whether a lookup of these parts finds this key.
fn is_found(key: &OwnedKey, spec: &FunctionSpec, parts: &impl WriteKey) -> bool {
    let mut buffer = b"before".to_vec();
    let hash = hash(&mut buffer, spec, parts).expect("a key");
    key.as_ref().is_key_of(hash, &mut buffer, spec, parts)
}

/// If these bytes change, the entries that L2 holds are never found again.
#[test]
fn names_and_digests_are_golden() {
    let parts = (Literal("a:"), (Part(&7_u32), Part("é")));
    let digest = key(&SPEC, &parts).digest(&Blake3);
    let all = b"\x04\0\0\0user\x1A\x07\0\0\0\x30\x02\0\0\0\xC3\xA9";
    assert_eq!(digest, Blake3.hash(all));
    assert_eq!(name(&SPEC, "ns", &digest, &Blake3, &parts).unwrap(), {
        let mut text = "ns:user:".to_owned();
        text::digest_text(&digest, &mut text);
        text
    });
    let templated = FunctionSpec::templated("a:{}{}");
    assert_eq!(name(&templated, "ns", &digest, &Blake3, &parts).unwrap(), "ns:a:7%C3%A9");
    let text = |bytes: &[u8]| {
        let mut text = String::new();
        text::digest_text(&Blake3.hash(bytes), &mut text);
        text
    };
    let parts = (Literal("a:"), (Digest(&7_u32), (Scope("T"), (ScopeValue(3_usize), ()))));
    let expected = format!("ns:a:{}:%G{}:%G3", text(b"\x1A\x07\0\0\0"), text(b"T"));
    assert_eq!(name(&templated, "ns", &digest, &Blake3, &parts).unwrap(), expected);
}

#[test]
fn key_depends_on_its_template_and_all_parts() {
    let parts = |a: &'static u32, b: &'static str| (Part(a), (Literal("not in it"), Part(b)));
    let one = key(&SPEC, &parts(&1, "x"));
    let long = "x".repeat(100).leak();
    for (spec, parts, is_equal) in [
        (&SPEC, parts(&1, "x"), true),
        (&FunctionSpec::templated("user"), parts(&1, "x"), true),
        (&OTHER_SPEC, parts(&1, "x"), false),
        (&SPEC, parts(&2, "x"), false),
        (&SPEC, parts(&1, "y"), false),
        (&SPEC, parts(&1, ""), false),
        (&SPEC, parts(&1, long), false),
    ] {
        let other = key(spec, &parts);
        assert_eq!((one == other, is_found(&one, spec, &parts)), (is_equal, is_equal));
        assert_eq!(one.hash() == other.hash(), is_equal, "or they would come into each other's way");
        assert!(is_found(&other, spec, &parts));
    }
    assert!(!is_found(&one, &SPEC, &Part(&1_u32)), "a part too few");
    assert!(!is_found(&one, &SPEC, &(parts(&1, "x"), Part(&()))), "a part too many");
}

/// Hashes can be equal by accident, and a lookup compares only one byte of them first.
#[test]
fn keys_with_equal_hashes_are_compared_in_full() {
    let one = key(&SPEC, &Part(&1_u32));
    assert!(one != OwnedKey { template: "users", ..one.clone() });
    assert!(one != OwnedKey { hash: one.hash() ^ 1, ..one.clone() });
    assert!(one != OwnedKey { bytes: b"".as_slice().into(), ..one.clone() });
    let mut buffer = Vec::new();
    assert!(one.as_ref().is_key_of(one.hash(), &mut buffer, &SPEC, &Part(&1_u32)));
    assert!(!one.as_ref().is_key_of(one.hash(), &mut buffer, &SPEC, &Part(&2_u32)));
    assert!(!one.as_ref().is_key_of(one.hash(), &mut buffer, &OTHER_SPEC, &Part(&1_u32)));
    assert!(!one.as_ref().is_key_of(one.hash() ^ 1, &mut buffer, &SPEC, &Part(&1_u32)));
    assert!(
        !one.as_ref().is_key_of(one.hash(), &mut buffer, &SPEC, &(Part(&1_u32), Part(&f64::NAN))),
        "refused"
    );
}

/// A value that serialises as alternating values, as one that reads a counter or the time would.
struct Changing(Cell<u8>, u8);

impl Serialize for Changing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.set(self.0.get() ^ self.1);
        let mut parts = serializer.serialize_tuple(1)?;
        parts.serialize_element(&self.0.get())?;
        parts.end()
    }
}

/// A changing value is found under a value that it had in all passes, or not at all.
#[test]
fn changing_value_is_not_mistaken_for_another_key() {
    let fixed = key(&SPEC, &Part(&(1_u8,)));
    let changing = Changing(Cell::new(0), 1);
    assert!(!is_found(&fixed, &SPEC, &Part(&changing)), "1, then 0");
    assert!(!is_found(&fixed, &SPEC, &Part(&Changing(Cell::new(0), 0))));
    let mixed = key(&SPEC, &Part(&changing));
    assert_ne!(mixed, fixed);
    for n in 0..2_u8 {
        let number = (n,);
        let part = Part(&number);
        assert!(mixed != key(&SPEC, &part) && !is_found(&mixed, &SPEC, &part));
    }
}

#[test]
fn scopes_and_digests_are_encoded_as_parts() {
    let list = vec![1_u8];
    let parts = (Some(Scope("T")), (ScopeValue(3_usize), (Digest(&list), ())));
    let plain = (Part("T"), (Part(&3_usize), (None::<Scope>, Part(&list))));
    assert!(key(&SPEC, &parts) == key(&SPEC, &plain) && is_found(&key(&SPEC, &parts), &SPEC, &plain));
}

/// Texts of which some cannot be displayed, in a tuple that ignores their errors.
struct Careless<'a>(&'a [Option<&'a str>]);

struct Text<'a>(Option<&'a str>);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.ok_or(fmt::Error)?)
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Careless<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut parts = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().for_each(|text| _ = parts.serialize_element(&Text(*text)));
        parts.end()
    }
}

#[test]
fn value_that_hides_a_serialization_error_matches_no_key() {
    let fixed = key(&SPEC, &Part(&Careless(&[Some("a")])));
    assert!(is_found(&fixed, &SPEC, &Part(&Careless(&[Some("a")]))));
    let mut buffer = Vec::new();
    let half = Part(&Careless(&[None, Some("a")]));
    assert!(!fixed.as_ref().is_key_of(fixed.hash(), &mut buffer, &SPEC, &half));
    assert!(KeyRef::encode(&mut buffer, &SPEC, &half).is_err());
}

/// A table of keys uses the hash that each key already has.
#[test]
fn table_uses_the_stored_hash_of_a_key() {
    let (short, long) = (key(&SPEC, &Part(&1_u32)), key(&SPEC, &Part(&"x".repeat(100))));
    assert!(short.len() > 1 && long.len() > 100, "{} and {}", short.len(), long.len());
    for key in [&short, &long] {
        assert_eq!(BuildPrehashed::default().hash_one(key), key.hash());
        assert_eq!(BuildPrehashed::default().hash_one(key.as_ref()), key.hash());
        assert_eq!(key.as_ref().hash(), key.hash());
    }
    assert_ne!(short.hash(), long.hash());
    assert!(short.as_ref().equivalent(&short) && !short.as_ref().equivalent(&long));
    let mut other = Prehashed::default();
    other.write(&[1, 2]);
    other.write(&[3]);
    assert_eq!(other.finish(), 0x01_02_03, "whatever else is hashed");
    other.write(&[0, 0, 0, 0, 0, 6]);
    assert_eq!(other.finish(), 0x02_03_00_00_00_00_00_07, "the first one comes round again");
}

/// The fingerprint that a function adds to the hash is known at compile time.
#[test]
fn hashes_of_two_specs_differ_by_their_fingerprints() {
    let hash_of = |spec: &FunctionSpec| key(spec, &Part(&7_u32)).hash();
    assert_eq!(hash_of(&SPEC) ^ hash_of(&OTHER_SPEC), SPEC.fingerprint() ^ OTHER_SPEC.fingerprint());
    assert_ne!(hash_of(&SPEC), hash_of(&OTHER_SPEC));
}

/// A function that is compiled in two crates has its template at two addresses.
#[test]
fn equal_templates_at_different_addresses_are_equal() {
    let at_other_address = FunctionSpec::prefix("user".to_owned().leak());
    let one = key(&SPEC, &Part(&1_u32));
    assert!(one == key(&at_other_address, &Part(&1_u32)) && is_found(&one, &at_other_address, &Part(&1_u32)));
}

#[test]
fn draft_has_the_same_name_as_a_direct_write() {
    let (id, list) = ("a:b", [1, 2]);
    let write = |writer: &mut NameWriter<'_>| {
        let parts: [&dyn KeyPart; 2] = [&id, &list];
        writer.write_template("user:{}:{{x}}:{}:end", parts)
    };
    let mut digest = String::new();
    let mut bytes = Vec::new();
    encode::encode(&list, &mut bytes).unwrap();
    text::digest_text(&Blake3.hash(&bytes), &mut digest);
    let expected = format!("user:a%3Ab:{{x}}:%H{digest}:end");
    assert_eq!(NameWriter::text(&Blake3, write).unwrap(), expected);
    assert_eq!(Draft::new(write).unwrap().name(&Blake3), expected);
    assert_eq!(NameWriter::text(&Blake3, |_| Err("refused")), Err("refused"));
}

#[test]
fn thread_buffer_is_reused_unless_it_is_huge() {
    std::thread::spawn(|| {
        with_buffer(|buffer| buffer.reserve_exact(60 * 1024));
        with_buffer(|buffer| {
            assert!(buffer.capacity() >= 60 * 1024);
            with_buffer(|inner| assert_eq!(inner.capacity(), 0, "it is lent once"));
        });
        with_buffer(|buffer| *buffer = Vec::with_capacity(LARGEST_BUFFER));
        with_buffer(|buffer| assert_eq!(buffer.capacity(), LARGEST_BUFFER));
        with_buffer(|buffer| *buffer = Vec::with_capacity(LARGEST_BUFFER + 1));
        with_buffer(|buffer| assert_eq!(buffer.capacity(), 0));
    })
    .join()
    .unwrap();
}
