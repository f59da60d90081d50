use cached_aside::cached;

#[cached("text", ttl = "5m", version = "2")]
async fn text(x: u32) -> u32 {
    x
}

#[cached("negative", ttl = "5m", version = -1)]
async fn negative(x: u32) -> u32 {
    x
}

#[cached("large", ttl = "5m", version = 99999999999)]
async fn large(x: u32) -> u32 {
    x
}

fn main() {}
