use cached_aside::cached;

#[cached("user", ttl = "5m", load_timeout = "1s")]
async fn user(id: u32) -> Option<u32> {
    Some(id)
}

fn main() {}
