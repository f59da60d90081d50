use cached_aside::cached;

#[derive(Clone)]
struct DbError;

#[cached("user", ttl = "5m", load_timeout = "1s")]
async fn user(id: u32) -> Result<u32, DbError> {
    if id > 0 { Ok(id) } else { Err(DbError) }
}

fn main() {}
