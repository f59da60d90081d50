use cached_aside::cached;

#[cached("user", ttl = "5m")]
async fn user(id: u32) -> u32 {
    id.to_string()
}

#[cached("held", ttl = "5m")]
async fn held(text: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Err(0);
    }
    Ok(1)
}

struct Repo;

impl Repo {
    #[cached("method", ttl = "5m", skip(self))]
    async fn method(&self, text: &str) -> Result<u32, String> {
        text.parse::<u32>()
    }
}

fn main() {}
