use cached_aside::{cached, invalidates};

async fn plain(id: u32) -> u32 {
    id
}

struct Repo;

impl Repo {
    #[cached("name:{id}", ttl = "5m", skip(self), handle = name_entry)]
    async fn name(&self, id: u32) -> u32 {
        id
    }

    async fn text(id: u32) -> u32 {
        id
    }

    #[invalidates(self.name(id))]
    async fn method(&self, id: u32) -> u32 {
        id
    }

    #[invalidates(Repo::text(id))]
    async fn associated(&self, id: u32) -> u32 {
        id
    }
}

#[cached("square:{x}", ttl = "5m", local)]
fn square(x: u32) -> u32 {
    x * x
}

#[invalidates(plain(id))]
async fn function(id: u32) -> u32 {
    id
}

#[invalidates(missing(id))]
async fn unknown(id: u32) -> u32 {
    id
}

#[invalidates(square::invalidate(id))]
async fn at_once(id: u32) -> u32 {
    id
}

fn main() {}
