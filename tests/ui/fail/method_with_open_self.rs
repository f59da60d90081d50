use cached_aside::cached;

struct Repo {
    id: u32,
}

impl Repo {
    #[cached("repo", ttl = "5m")]
    async fn bare(&self, x: u32) -> u32 {
        self.id + x
    }

    #[cached("repo:{x}", ttl = "5m")]
    async fn template(&self, x: u32) -> u32 {
        self.id + x
    }

    #[cached("repo", ttl = "5m", key = x)]
    async fn key(&self, x: u32) -> u32 {
        self.id + x
    }
}

fn main() {}
