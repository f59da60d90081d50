use cached_aside::cached;

struct Path<T>(T);

#[cached("note:{id}", ttl = "5m")]
async fn note(Path(id): Path<u64>) -> u64 {
    id
}

#[cached("page:{user}:{page}", ttl = "5m")]
async fn page((user, _): (u64, u64), Path(page): Path<u64>) -> u64 {
    user + page
}

#[cached("skipped:{id}", ttl = "5m", skip(name))]
async fn skipped(id: u64, Path(name): Path<String>) -> u64 {
    id + name.len() as u64
}

#[cached("open:{id}", ttl = "5m")]
async fn open(id: u64, Path(name): Path<String>, _: u8) -> u64 {
    id + name.len() as u64
}

#[cached("tagged", ttl = "5m", tags = ["note:{id}"])]
async fn tagged(Path(id): Path<u64>) -> u64 {
    id
}

fn main() {}
