use cached_aside::cached;

#[cached("near", ttll = "5m")]
async fn near(x: u32) -> u32 {
    x
}

#[cached("far", ttl = "5m", flavour = "vanilla")]
async fn far(x: u32) -> u32 {
    x
}

fn main() {}
