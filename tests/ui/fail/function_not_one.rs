use cached_aside::cached;

#[cached("struct", ttl = "5m")]
struct User {
    id: u32,
}

#[cached("impl", ttl = "5m")]
impl User {
    fn id(&self) -> u32 {
        self.id
    }
}

#[cached("const", ttl = "5m")]
const LIMIT: u32 = 5;

trait Users {
    #[cached("trait", ttl = "5m", skip(self))]
    async fn user(&self, id: u32) -> u32;
}

fn main() {}
