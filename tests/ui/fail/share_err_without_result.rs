use cached_aside::cached;

#[cached("user", ttl = "5m", share_err = |e| e.clone())]
async fn user(id: u32) -> Option<u32> {
    Some(id)
}

fn main() {}
