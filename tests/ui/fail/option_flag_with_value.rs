use cached_aside::cached;

#[cached("local", ttl = "5m", local = true)]
fn local(x: u32) -> u32 {
    x
}

#[cached("cache_none", ttl = "5m", cache_none(false))]
async fn cache_none(x: u32) -> Option<u32> {
    Some(x)
}

fn main() {}
