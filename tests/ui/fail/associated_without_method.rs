use cached_aside::cached;

struct Repo;

impl Repo {
    #[cached("user", ttl = "5m")]
    async fn user(id: u32) -> u32 {
        id
    }
}

fn main() {}
