use std::fmt;

use serde::{Serializer, ser::SerializeTuple};

use super::*;

const SITE: Site = Site::prefix("user");
const OTHER: Site = Site::prefix("users");

fn key(site: &Site, parts: &dyn WriteKey) -> Key {
    KeyRef::write(&mut b"before".to_vec(), site, parts).expect("a key").owned()
}

/// Whether a look for these parts finds this key.
fn is_found(key: &Key, site: &Site, parts: &impl WriteKey) -> bool {
    let mut buffer = b"before".to_vec();
    let hash = hash(&mut buffer, site, parts).expect("a key");
    key.is_of(hash, &mut buffer, site, parts)
}

/// Or else nobody finds what is in the shared tier any more.
#[test]
fn names_and_digests_are_golden() {
    let parts = (Literal("a:"), (Part(&7_u32), Part("é")));
    let digest = key(&SITE, &parts).digest(&Blake3);
    let all = b"\x04\0\0\0user\x1A\x07\0\0\0\x30\x02\0\0\0\xC3\xA9";
    assert_eq!(digest, Blake3.hash(all));
    assert_eq!(name(&SITE, "ns", &digest, &Blake3, &parts).unwrap(), {
        let mut text = "ns:user:".to_owned();
        text::digest_text(&digest, &mut text);
        text
    });
    let templated = Site::templated("a:{}{}");
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
fn a_key_is_its_template_and_its_parts() {
    let parts = |a: &'static u32, b: &'static str| (Part(a), (Literal("not in it"), Part(b)));
    let one = key(&SITE, &parts(&1, "x"));
    let long = "x".repeat(100).leak();
    for (site, parts, is_it) in [
        (&SITE, parts(&1, "x"), true),
        (&Site::templated("user"), parts(&1, "x"), true),
        (&OTHER, parts(&1, "x"), false),
        (&SITE, parts(&2, "x"), false),
        (&SITE, parts(&1, "y"), false),
        (&SITE, parts(&1, ""), false),
        (&SITE, parts(&1, long), false),
    ] {
        let other = key(site, &parts);
        assert_eq!((one == other, is_found(&one, site, &parts)), (is_it, is_it));
        assert_eq!(one.hash() == other.hash(), is_it, "or they would come into each other's way");
        assert!(is_found(&other, site, &parts));
    }
    assert!(!is_found(&one, &SITE, &Part(&1_u32)), "a part too few");
    assert!(!is_found(&one, &SITE, &(parts(&1, "x"), Part(&()))), "a part too many");
}

/// Hashes are equal by accident, and one byte of them is all that is looked at first.
#[test]
fn an_equal_hash_is_not_enough() {
    let one = key(&SITE, &Part(&1_u32));
    assert!(one != Key { template: "users", ..one.clone() });
    assert!(one != Key { hash: one.hash() ^ 1, ..one.clone() });
    assert!(one != Key { bytes: b"".as_slice().into(), ..one.clone() });
    let mut buffer = Vec::new();
    assert!(one.is_of(one.hash(), &mut buffer, &SITE, &Part(&1_u32)));
    assert!(!one.is_of(one.hash(), &mut buffer, &SITE, &Part(&2_u32)));
    assert!(!one.is_of(one.hash(), &mut buffer, &OTHER, &Part(&1_u32)));
    assert!(!one.is_of(one.hash() ^ 1, &mut buffer, &SITE, &Part(&1_u32)));
    assert!(!one.is_of(one.hash(), &mut buffer, &SITE, &(Part(&1_u32), Part(&f64::NAN))), "refused");
}

/// Serialises as other values in turn, as what reads a counter or the time would.
struct Changing(Cell<u8>, u8);

impl Serialize for Changing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.set(self.0.get() ^ self.1);
        let mut parts = serializer.serialize_tuple(1)?;
        parts.serialize_element(&self.0.get())?;
        parts.end()
    }
}

/// It is found as what it was in all passes, or not at all.
#[test]
fn what_changes_under_the_eyes_is_not_taken_for_another() {
    let fixed = key(&SITE, &Part(&(1_u8,)));
    let changing = Changing(Cell::new(0), 1);
    assert!(!is_found(&fixed, &SITE, &Part(&changing)), "1, then 0");
    assert!(!is_found(&fixed, &SITE, &Part(&Changing(Cell::new(0), 0))));
    let mixed = key(&SITE, &Part(&changing));
    assert_ne!(mixed, fixed);
    for n in 0..2_u8 {
        let number = (n,);
        let part = Part(&number);
        assert!(mixed != key(&SITE, &part) && !is_found(&mixed, &SITE, &part));
    }
}

#[test]
fn scopes_and_digests_are_parts() {
    let list = vec![1_u8];
    let parts = (Some(Scope("T")), (ScopeValue(3_usize), (Digest(&list), ())));
    let plain = (Part("T"), (Part(&3_usize), (None::<Scope>, Part(&list))));
    assert!(key(&SITE, &parts) == key(&SITE, &plain) && is_found(&key(&SITE, &parts), &SITE, &plain));
}

/// Texts of which one cannot be shown, and which does not mind.
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
fn what_passes_over_an_error_is_not_found_as_what_has_none() {
    let fixed = key(&SITE, &Part(&Careless(&[Some("a")])));
    assert!(is_found(&fixed, &SITE, &Part(&Careless(&[Some("a")]))));
    let mut buffer = Vec::new();
    let half = Part(&Careless(&[None, Some("a")]));
    assert!(!fixed.is_of(fixed.hash(), &mut buffer, &SITE, &half));
    assert!(KeyRef::write(&mut buffer, &SITE, &half).is_err());
}
