use cached_aside::cached;

struct Repo;

impl Repo {
    #[cached("user", ttl = "5m", skip(self), handle = user)]
    async fn user(&self, id: u32) -> u32 {
        id
    }

    #[cached("name", ttl = "5m", skip(self), handle = "name_entry")]
    async fn name(&self, id: u32) -> u32 {
        id
    }
}

fn main() {}
