use cached_aside::cached;

struct Repo {
    id: u32,
}

impl Repo {
    #[cached("repo:{self}", ttl = "5m")]
    async fn whole(&self) -> u32 {
        self.id
    }

    #[cached("repo:{hash(self)}", ttl = "5m")]
    async fn hashed(&self) -> u32 {
        self.id
    }
}

fn main() {}
