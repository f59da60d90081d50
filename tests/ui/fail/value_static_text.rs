use cached_aside::cached;

#[cached("static", ttl = "5m")]
async fn text(id: u32) -> &'static str {
    if id > 0 { "some" } else { "none" }
}

fn main() {}
