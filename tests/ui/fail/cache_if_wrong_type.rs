use cached_aside::cached;

#[cached("number", ttl = "5m", cache_if = |v| *v)]
async fn number(id: u32) -> u32 {
    id
}

#[cached("value", ttl = "5m", cache_if = true)]
async fn value(id: u32) -> u32 {
    id
}

#[cached("arity", ttl = "5m", cache_if = |v, w| v > w)]
async fn arity(id: u32) -> u32 {
    id
}

fn is_long(text: &String) -> bool {
    text.len() > 5
}

#[cached("other", ttl = "5m", cache_if = is_long)]
async fn other(id: u32) -> u32 {
    id
}

fn main() {}
