use cached_aside::cached;

#[cached("user", ttl = "5m", cache_none)]
async fn user(id: u32) -> u32 {
    id
}

fn main() {}
