use cached_aside::cached;

#[cached(ttl = "5m", "user")]
async fn user(x: u32) -> u32 {
    x
}

fn main() {}
