use cached_aside::cached;

struct DbError(String);

#[cached("user", ttl = "5m", share_err = |e| e.0.clone())]
async fn user(id: u32) -> Result<u32, DbError> {
    if id > 0 { Ok(id) } else { Err(DbError("none".to_owned())) }
}

fn main() {}
