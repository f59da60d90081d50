use cached_aside::cached;

#[cached("text", ttl = "soon")]
async fn text(x: u32) -> u32 {
    x
}

#[cached("zero", ttl = 0)]
async fn zero(x: u32) -> u32 {
    x
}

#[cached("zero_text", ttl = "0s")]
async fn zero_text(x: u32) -> u32 {
    x
}

#[cached("negative", ttl = -5)]
async fn negative(x: u32) -> u32 {
    x
}

#[cached("negative_text", ttl = "-5m")]
async fn negative_text(x: u32) -> u32 {
    x
}

#[cached("suffix", ttl = 5u64)]
async fn suffix(x: u32) -> u32 {
    x
}

#[cached("minutes", ttl = 5m)]
async fn minutes(x: u32) -> u32 {
    x
}

#[cached("overflow", ttl = 99999999999999999999)]
async fn overflow(x: u32) -> u32 {
    x
}

#[cached("overflow_text", ttl = "99999999999999999999d")]
async fn overflow_text(x: u32) -> u32 {
    x
}

#[cached("fraction", ttl = 1.5)]
async fn fraction(x: u32) -> u32 {
    x
}

#[cached("flag", ttl = true)]
async fn flag(x: u32) -> u32 {
    x
}

#[cached("cache_err", ttl = "5m", cache_err = "sometimes")]
async fn cache_err(x: u32) -> Result<u32, ()> {
    Ok(x)
}

fn main() {}
