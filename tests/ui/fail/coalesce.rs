use cached_aside::cached;

#[cached("word:{x}", ttl = "5m", coalesce = everywhere)]
async fn word(x: u32) -> u32 {
    x
}

#[cached("text:{x}", ttl = "5m", coalesce = "local")]
async fn text(x: u32) -> u32 {
    x
}

#[cached("value:{x}", ttl = "5m", coalesce)]
async fn value(x: u32) -> u32 {
    x
}

#[cached("local:{x}", ttl = "5m", local, coalesce = cluster)]
async fn local(x: u32) -> u32 {
    x
}

fn main() {}
