use cached_aside::invalidates;

#[invalidates(clear)]
async fn wrong_type(id: u32) -> String {
    id
}

struct Refused;

#[invalidates(clear)]
async fn wrong_error(text: &str) -> Result<u32, Refused> {
    Ok(text.parse::<u32>()?)
}

#[invalidates(clear)]
async fn wrong_return(id: u32) -> Option<u32> {
    if id > 0 {
        return Some("x");
    }
    None
}

fn main() {}
