use cached_aside::cached;

use std::{rc::Rc, sync::Arc};

struct Db;

#[cached("argument", ttl = "5m", skip(db), detach = true)]
async fn argument(db: &Db, id: u32) -> u32 {
    let _ = db;
    id
}

#[cached("body", ttl = "5m", detach = true)]
async fn body(id: u32) -> u32 {
    let shared = Rc::new(id);
    std::future::ready(()).await;
    *shared
}

impl Db {
    #[cached("method", ttl = "5m", skip(self), detach = true)]
    async fn method(self: Arc<Self>, id: u32) -> u32 {
        let shared = Rc::new(id);
        std::future::ready(()).await;
        *shared
    }
}

fn main() {}
