//! A process that shares a Redis with others; its argument is where that is.

fn main() {
    let url = std::env::args().nth(1).expect("the address of Redis");
    cached_aside_bench::remote_work(&url);
}
