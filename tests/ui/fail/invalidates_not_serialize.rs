use cached_aside::invalidates;

struct User {
    id: u32,
}

#[invalidates(tags = ["user:{user}"])]
async fn whole(user: User) -> u32 {
    user.id
}

#[invalidates(prefix = "user:{hash(user)}:")]
async fn hashed(user: &User) -> u32 {
    user.id
}

#[invalidates(tags = ["user:{user.di}"])]
async fn field(user: &User) -> u32 {
    user.id
}

#[invalidates(tags = ["of:{of}"])]
async fn generic<T>(of: T) -> T {
    of
}

fn main() {}
