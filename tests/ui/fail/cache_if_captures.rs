use cached_aside::cached;

#[cached("user", ttl = "5m", cache_if = |v| *v > id)]
async fn user(id: u32) -> u32 {
    id
}

#[cached("local", ttl = "5m", local, cache_if = |v| *v > id)]
fn local(id: u32) -> u32 {
    id
}

fn main() {}
