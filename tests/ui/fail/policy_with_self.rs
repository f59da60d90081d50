use cached_aside::cached;

use std::time::Duration;

struct Repo {
    ttl: Duration,
    limit: u32,
}

impl Repo {
    #[cached("ttl", ttl = self.ttl, skip(self))]
    async fn ttl(&self, id: u32) -> u32 {
        id
    }

    #[cached("cache_if", ttl = "5m", skip(self), cache_if = |v| *v < self.limit)]
    async fn cache_if(&self, id: u32) -> u32 {
        id
    }

    #[cached("weight", ttl = "5m", skip(self), weight = |_| self.limit as usize)]
    async fn weight(&self, id: u32) -> u32 {
        id
    }
}

fn main() {}
