use cached_aside::cached;

const SECONDS: u64 = 300;

#[cached("number", ttl = SECONDS)]
async fn number(x: u32) -> u32 {
    x
}

#[cached("argument", ttl = ttl, skip(ttl))]
async fn argument(x: u32, ttl: std::time::Duration) -> u32 {
    let _ = ttl;
    x
}

#[cached("from", ttl_from = |v| v.ttl)]
async fn from(x: u32) -> u32 {
    x
}

#[cached("from", ttl_from = |v| 5)]
async fn from_number(x: u32) -> u32 {
    x
}

fn main() {}
