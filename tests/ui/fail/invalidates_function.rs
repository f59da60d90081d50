use cached_aside::{cached, invalidates};

#[cached("note:{id}", ttl = "5m")]
async fn note(id: u32) -> u32 {
    id
}

#[invalidates(note(id))]
fn blocking(id: u32) -> u32 {
    id
}

#[invalidates(note(1))]
struct User;

trait Users {
    #[invalidates(note(id))]
    async fn edit(&self, id: u32);
}

fn main() {}
