use cached_aside::cached;

#[cached("text", ttl = "5m")]
async fn text(text: impl AsRef<str>) -> usize {
    text.as_ref().len()
}

fn main() {}
