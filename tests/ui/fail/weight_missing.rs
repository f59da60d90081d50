use cached_aside::cached;

use std::sync::Arc;

#[derive(Clone)]
pub struct Prepared {
    pub text: String,
}

pub type Parsed = Result<Arc<Prepared>, std::num::ParseIntError>;

#[cached("alone", ttl = "5m", local)]
fn alone(id: u32) -> Prepared {
    Prepared { text: id.to_string() }
}

#[cached("alias", ttl = "5m", local)]
async fn alias(id: u32) -> Parsed {
    Ok(Arc::new(Prepared { text: id.to_string() }))
}

#[cached("in_a_tuple", ttl = "5m", local)]
async fn in_a_tuple(id: u32) -> Option<(u32, Prepared)> {
    Some((id, Prepared { text: String::new() }))
}

#[cached("generic", ttl = "5m", local)]
fn generic<T: Clone + Send + Sync + From<u32> + 'static>(id: u32) -> Vec<T> {
    vec![T::from(id)]
}

#[cached("weight", ttl = "5m", local, weight = |prepared| prepared.text.capacity())]
fn with_weight(id: u32) -> Prepared {
    Prepared { text: id.to_string() }
}

#[cached("max_entries", ttl = "5m", local, max_entries = 1000)]
fn with_max_entries(id: u32) -> Arc<Prepared> {
    Arc::new(Prepared { text: id.to_string() })
}

fn main() {}
