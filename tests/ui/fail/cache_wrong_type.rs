use cached_aside::cached;

static TEXT: &str = "a cache";

#[cached("text", ttl = "5m", cache = TEXT)]
async fn text(id: u32) -> u32 {
    id
}

#[cached("unknown", ttl = "5m", cache = CACHE)]
async fn unknown(id: u32) -> u32 {
    id
}

fn main() {}
