use cached_aside::cached;

#[cached("user", ttl = "5m", cache_err = "5s" if |e| e.len())]
async fn user(id: u32) -> Result<u32, String> {
    Ok(id)
}

fn main() {}
