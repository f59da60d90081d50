use cached_aside::cached;

#[cached("stale", ttl = "5m", stale = "10m")]
async fn stale(x: u32) -> u32 {
    x
}

#[cached("refresh_ahead", ttl = "5m", refresh_ahead = 0.8)]
async fn refresh_ahead(x: u32) -> u32 {
    x
}

#[cached("load_timeout", ttl = "5m", load_timeout = "1m")]
async fn load_timeout(x: u32) -> u32 {
    x
}

#[cached("soft_timeout", ttl = "5m", soft_timeout = "1s")]
async fn soft_timeout(x: u32) -> u32 {
    x
}

fn main() {}
