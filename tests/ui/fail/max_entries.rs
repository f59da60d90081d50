use cached_aside::cached;

#[cached("zero", ttl = "5m", max_entries = 0)]
async fn zero(x: u32) -> u32 {
    x
}

#[cached("text", ttl = "5m", max_entries = "many")]
async fn text(x: u32) -> u32 {
    x
}

fn main() {}
