use cached_aside::cached;

use std::borrow::Cow;

#[cached("plain", ttl = "5m")]
async fn plain(x: &str) -> &str {
    x
}

#[cached("inside", ttl = "5m")]
async fn inside(x: &str) -> Option<Cow<'_, str>> {
    Some(x.into())
}

#[cached("named", ttl = "5m", local)]
fn named<'a>(x: &'a [String]) -> Vec<&'a String> {
    x.iter().collect()
}

#[cached("static", ttl = "5m")]
async fn fixed(x: u32) -> &'static str {
    if x > 0 { "some" } else { "none" }
}

fn main() {}
