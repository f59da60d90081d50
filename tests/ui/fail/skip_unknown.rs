use cached_aside::cached;

struct Db;

#[cached("near", ttl = "5m", skip(databse))]
async fn near(database: &Db, x: u32) -> u32 {
    let _ = database;
    x
}

#[cached("far", ttl = "5m", skip(connection))]
async fn far(db: &Db, x: u32) -> u32 {
    let _ = db;
    x
}

#[cached("own", ttl = "5m", skip(self))]
async fn own(x: u32) -> u32 {
    x
}

fn main() {}
