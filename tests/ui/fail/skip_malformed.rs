use cached_aside::cached;

#[cached("equals", ttl = "5m", skip = db)]
async fn equals(db: u32, x: u32) -> u32 {
    db + x
}

#[cached("bare", ttl = "5m", skip)]
async fn bare(db: u32, x: u32) -> u32 {
    db + x
}

#[cached("text", ttl = "5m", skip("db"))]
async fn text(db: u32, x: u32) -> u32 {
    db + x
}

#[cached("field", ttl = "5m", skip(db.name))]
async fn field(db: u32, x: u32) -> u32 {
    db + x
}

#[cached("empty", ttl = "5m", skip())]
async fn empty(x: u32) -> u32 {
    x
}

fn main() {}
