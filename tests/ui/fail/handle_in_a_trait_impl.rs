use cached_aside::cached;

trait Users {
    async fn user(&self, id: u32) -> u32;
}

struct Repo;

impl Users for Repo {
    #[cached("user", ttl = "5m", skip(self), handle = user_entry)]
    async fn user(&self, id: u32) -> u32 {
        id
    }
}

fn main() {}
