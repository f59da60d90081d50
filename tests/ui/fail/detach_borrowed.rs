use cached_aside::cached;

use std::sync::Arc;

struct Repo;

impl Repo {
    #[cached("own", ttl = "5m", skip(self), detach = true)]
    async fn own(&self, id: u32) -> u32 {
        id
    }

    #[cached("text", ttl = "5m", skip(self), detach = true)]
    async fn text(self: Arc<Self>, text: &str) -> usize {
        text.len()
    }
}

#[cached("texts", ttl = "5m", detach = true)]
async fn texts(texts: &[&str]) -> usize {
    texts.len()
}

#[cached("sync", ttl = "5m", local, detach = true)]
fn sync(id: u32) -> u32 {
    id
}

#[cached("flag", ttl = "5m", detach)]
async fn flag(id: u32) -> u32 {
    id
}

#[cached("word", ttl = "5m", detach = yes)]
async fn word(id: u32) -> u32 {
    id
}

fn main() {}
