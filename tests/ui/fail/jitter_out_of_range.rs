use cached_aside::cached;

#[cached("high", ttl = "5m", jitter = 1.5)]
async fn high(x: u32) -> u32 {
    x
}

#[cached("negative", ttl = "5m", jitter = -0.1)]
async fn negative(x: u32) -> u32 {
    x
}

#[cached("percent", ttl = "5m", jitter = 10)]
async fn percent(x: u32) -> u32 {
    x
}

#[cached("text", ttl = "5m", jitter = "10%")]
async fn text(x: u32) -> u32 {
    x
}

fn main() {}
