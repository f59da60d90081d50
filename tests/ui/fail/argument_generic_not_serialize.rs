use cached_aside::cached;

#[cached("generic", ttl = "5m")]
async fn generic<T: ToString>(value: T) -> String {
    value.to_string()
}

#[cached("by_reference", ttl = "5m")]
async fn by_reference<T>(value: &T) -> String
where
    T: ToString + ?Sized,
{
    value.to_string()
}

fn main() {}
