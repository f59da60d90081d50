use std::sync::Arc;

use cached_aside::cached;

#[cached("none", ttl = "5m", keep_warm = 0)]
async fn none(x: u32) -> u32 {
    x
}

#[cached("many", ttl = "5m", keep_warm = 1_000_000)]
async fn many(x: u32) -> u32 {
    x
}

#[cached("which", ttl = "5m", keep_warm)]
async fn which(x: u32) -> u32 {
    x
}

#[cached("sync", ttl = "5m", local, keep_warm = 10)]
fn sync(x: u32) -> u32 {
    x
}

#[cached("inline", ttl = "5m", detach = false, keep_warm = 10)]
async fn inline(x: u32) -> u32 {
    x
}

#[cached("generic", ttl = "5m", keep_warm = 10)]
async fn generic<T: serde::Serialize>(x: T) -> u32 {
    drop(x);
    1
}

#[cached("borrowed", ttl = "5m", keep_warm = 10, skip(counter))]
async fn borrowed(texts: &[&str], counter: &mut u32) -> u32 {
    *counter += 1;
    texts.len() as u32
}

#[cached("misspelt", ttl = "5m", keep_warn = 10)]
async fn misspelt(x: u32) -> u32 {
    x
}

struct Users;

impl Users {
    #[cached("method", ttl = "5m", skip(self), keep_warm = 10)]
    async fn method(&self, x: u32) -> u32 {
        x
    }

    #[cached("shared", ttl = "5m", skip(self), detach = true, keep_warm = 10)]
    async fn shared(self: Arc<Self>, x: u32) -> u32 {
        x
    }

    #[cached("associated", ttl = "5m", method, keep_warm = 10)]
    async fn associated(x: u32) -> u32 {
        x
    }
}

fn main() {}
