use cached_aside::cached;

#[cached("near", ttll = "5m")]
async fn near(x: u32) -> u32 {
    x
}

#[cached("far", ttl = "5m", flavour = "vanilla")]
async fn far(x: u32) -> u32 {
    x
}

#[cached("foreign", ttl = "5m", time = 60, size = 100, weigher = len, result = true)]
async fn foreign(x: u32) -> Result<u32, String> {
    Ok(x)
}

fn main() {}
