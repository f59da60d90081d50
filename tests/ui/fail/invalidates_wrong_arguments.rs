use cached_aside::{cached, invalidates};

#[cached("note", ttl = "5m")]
async fn note(id: u32, text: &str) -> u32 {
    id + text.len() as u32
}

#[cached("text", ttl = "5m")]
async fn text(of: String) -> usize {
    of.len()
}

#[invalidates(note("x", "y"))]
async fn wrong_type(id: u32) -> u32 {
    id
}

#[invalidates(note(id))]
async fn too_few(id: u32) -> u32 {
    id
}

#[invalidates(text(of))]
async fn consumed(of: String) -> String {
    of
}

fn main() {}
