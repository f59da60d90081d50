use cached_aside::cached;

#[cached("bits", ttl = "5m", weight = |v| v.len() as u64)]
async fn bits(id: u32) -> String {
    id.to_string()
}

#[cached("value", ttl = "5m", weight = 1000)]
async fn value(id: u32) -> u32 {
    id
}

#[cached("other", ttl = "5m", weight = Vec::<u8>::len)]
async fn other(id: u32) -> String {
    id.to_string()
}

#[cached("captures", ttl = "5m", weight = |_| text.len())]
async fn captures(text: String) -> u32 {
    text.parse().unwrap_or_default()
}

fn main() {}
