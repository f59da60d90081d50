use cached_aside::cached;

#[cached(prefix = user, ttl = "5m")]
async fn path(x: u32) -> u32 {
    x
}

#[cached(prefix = 5, ttl = "5m")]
async fn number(x: u32) -> u32 {
    x
}

#[cached(b"bytes", ttl = "5m")]
async fn bytes(x: u32) -> u32 {
    x
}

fn main() {}
