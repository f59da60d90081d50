use std::{cell::Cell, rc::Rc};

use cached_aside::cached;

/// Not `Clone`.
struct Db;

/// Not `Clone`, and by value.
struct Token;

#[cached("borrowed", ttl = "5m", keep_warm = 10, skip(db))]
async fn borrowed(db: &Db, id: u32) -> u32 {
    let _ = db;
    id
}

#[cached("owned", ttl = "5m", keep_warm = 10, skip(token))]
async fn owned(token: Token, id: u32) -> u32 {
    drop(token);
    id
}

/// It may move to another thread, and not be used by two.
#[cached("cell", ttl = "5m", keep_warm = 10, skip(cell))]
async fn cell(cell: Cell<u32>, id: u32) -> u32 {
    cell.get() + id
}

#[cached("body", ttl = "5m", keep_warm = 10)]
async fn body(id: u32) -> u32 {
    let shared = Rc::new(id);
    std::future::ready(()).await;
    *shared
}

fn main() {}
