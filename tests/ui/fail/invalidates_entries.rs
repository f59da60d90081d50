use cached_aside::{cached, invalidates};

#[cached("note:{id}", ttl = "5m")]
async fn note(id: u32) -> u32 {
    id
}

#[invalidates]
async fn nothing(id: u32) -> u32 {
    id
}

#[invalidates(note)]
async fn name(id: u32) -> u32 {
    id
}

#[invalidates(crate::note)]
async fn path(id: u32) -> u32 {
    id
}

#[invalidates("note:{id}")]
async fn text(id: u32) -> u32 {
    id
}

#[invalidates(note(id).await?)]
async fn awaited(id: u32) -> u32 {
    id
}

#[invalidates(note!(id), |id| note(id), note(id) note(2), note(,))]
async fn several(id: u32) -> u32 {
    id
}

fn main() {
    // The functions are there all the same.
    let _ = (nothing(1), name(1), path(1), text(1), awaited(1), several(1));
}
