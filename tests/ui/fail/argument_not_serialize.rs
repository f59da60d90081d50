use cached_aside::cached;

struct Db;

#[cached("owned", ttl = "5m")]
async fn owned(db: Db, id: u32) -> u32 {
    let _ = db;
    id
}

#[cached("reference", ttl = "5m")]
async fn reference(db: &Db, id: u32) -> u32 {
    let _ = db;
    id
}

#[cached("template:{db}:{hash(db)}:{id}", ttl = "5m")]
async fn template(db: &Db, id: u32) -> u32 {
    let _ = db;
    id
}

#[cached("inside", ttl = "5m")]
async fn inside(db: Option<Db>, id: u32) -> u32 {
    let _ = db;
    id
}

#[cached("key", ttl = "5m", key = Db)]
async fn key(id: u32) -> u32 {
    id
}

struct Repo {
    db: Db,
}

impl Repo {
    #[cached("method:{self.db}", ttl = "5m")]
    async fn method(&self) -> u32 {
        1
    }

    #[cached("method", ttl = "5m", skip(self))]
    async fn other(&self, db: &Db) -> u32 {
        let _ = (db, &self.db);
        1
    }
}

fn main() {}
