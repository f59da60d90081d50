use cached_aside::{cached, invalidates};

#[cached("note:{id}", ttl = "5m")]
async fn note(id: u32) -> u32 {
    id
}

#[invalidates(tag = ["note:{id}"])]
async fn near(id: u32) -> u32 {
    id
}

#[invalidates(note(id), flavour = "vanilla")]
async fn far(id: u32) -> u32 {
    id
}

#[invalidates(clear, tags = ["note:{id}"], clear)]
async fn twice(id: u32) -> u32 {
    id
}

#[invalidates(clear = true)]
async fn value(id: u32) -> u32 {
    id
}

#[invalidates(tags, prefix =, cache, clear)]
async fn no_value(id: u32) -> u32 {
    id
}

#[invalidates(note(id), cache = cached_aside::default_cache())]
async fn idle_cache(id: u32) -> u32 {
    id
}

#[invalidates(tags = ["note:{id}"], cache = id)]
async fn no_cache(id: u32) -> u32 {
    id
}

#[invalidates(note(id), crate = "cached_aside")]
async fn no_crate(id: u32) -> u32 {
    id
}

#[invalidates(note(id), confirmed)]
async fn confirmed(id: u32) -> u32 {
    id
}

fn main() {}
