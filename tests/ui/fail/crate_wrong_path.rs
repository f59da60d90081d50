use cached_aside::cached;

#[cached("user", ttl = "5m", crate = "cached_aside")]
async fn user(id: u32) -> u32 {
    id
}

fn main() {}
