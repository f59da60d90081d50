use cached_aside::cached;

use serde::Serialize;

#[cached("echo", ttl = "5m")]
async fn echo<T: Serialize>(value: T) -> T {
    value
}

fn main() {}
