use cached_aside::cached;

#[cached("a", ttl = "1m", schema = 2)]
async fn a(id: u64) -> u64 {
    id
}

#[cached("b", ttl = "1m", schema = " ")]
async fn b(id: u64) -> u64 {
    id
}

#[cached("c", ttl = "1m", schema)]
async fn c(id: u64) -> u64 {
    id
}

#[cached("d", ttl = "1m", schema = "d", schema = "d")]
async fn d(id: u64) -> u64 {
    id
}

fn main() {}
