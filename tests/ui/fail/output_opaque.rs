use cached_aside::cached;

use std::fmt::Display;

#[cached("plain", ttl = "5m")]
async fn plain(x: u32) -> impl Display {
    x
}

#[cached("inside", ttl = "5m")]
async fn inside(x: u32) -> Result<impl Display, ()> {
    Ok(x)
}

fn main() {}
