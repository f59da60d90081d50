use cached_aside::cached;

#[cached("user", ttl = "5m", cache_err = "5s")]
async fn user(id: u32) -> Result<u32, std::io::Error> {
    Ok(id)
}

fn main() {}
