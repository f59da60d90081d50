//! Attributes of other crates beside `#[cached]`.

use std::sync::Mutex;

use async_trait::async_trait;
use cached_aside::cached;
use test_attributes::{checked, framed};

use crate::support::Runs;

static FRAMES: Mutex<Vec<&str>> = Mutex::new(Vec::new());
static RUNS: Runs = Runs::new();

/// Records a call from the code that `#[framed]` generates.
pub(crate) fn framed(name: &'static str) {
    FRAMES.lock().unwrap().push(name);
}

mod below {
    use super::{RUNS, cached, checked, framed};

    #[cached("beside:below:{id}", ttl = "1m")]
    #[framed]
    #[checked]
    pub(super) async fn account(id: u64) -> Result<u64, String> {
        RUNS.add();
        Ok(id)
    }
}

mod above {
    use super::{RUNS, cached, checked, framed};

    #[checked]
    #[framed]
    #[cached("beside:above:{id}", ttl = "1m")]
    pub(super) async fn account(id: u64) -> u64 {
        RUNS.add();
        id
    }
}

mod both {
    use super::{RUNS, cached, checked, framed};

    /// Function with a doc comment.
    #[cfg_attr(all(), checked, must_use)]
    #[cached("beside:both:{id}", ttl = "1m")]
    #[cfg_attr(all(), framed, inline)]
    #[cfg_attr(any(), no_such_attribute)]
    pub(super) async fn account(id: u64) -> u64 {
        RUNS.add();
        id
    }
}

macro_rules! whole {
    ($function:item) => {
        #[cached("beside:whole:{id}", ttl = "1m")]
        $function
    };
}

mod whole {
    use super::{RUNS, cached, framed};

    whole! {
        #[framed]
        pub(super) async fn account(id: u64) -> u64 {
            RUNS.add();
            id
        }
    }
}

struct Repo;

impl Repo {
    #[cached("beside:method:{id}", ttl = "1m", skip(self))]
    #[framed]
    async fn method(&self, id: u64) -> u64 {
        RUNS.add();
        id
    }

    #[cached("beside:handled:{id}", ttl = "1m", skip(self), handle = handled_entry)]
    #[framed]
    async fn handled(&self, id: u64) -> Result<u64, String> {
        RUNS.add();
        Ok(id)
    }
}

trait Accounts {
    async fn native(&self, id: u64) -> u64;
}

impl Accounts for Repo {
    #[framed]
    #[cached("beside:native:{id}", ttl = "1m", skip(self))]
    async fn native(&self, id: u64) -> u64 {
        RUNS.add();
        id
    }
}

#[async_trait]
trait Objects {
    async fn object(&self, id: u64) -> u64;
}

#[async_trait]
impl Objects for Repo {
    /// Method that is not async after `#[async_trait]`.
    ///
    /// An attribute that requires an async function cannot be used here, with or without `#[cached]`.
    #[cached("beside:object:{id}", ttl = "1m", skip(self))]
    #[cfg_attr(all(), allow(clippy::let_and_return))]
    async fn object(&self, id: u64) -> u64 {
        RUNS.add();
        id
    }
}

#[tokio::test]
async fn other_attributes_see_the_written_function_and_wrap_the_load_once() {
    for _ in 0..2 {
        assert_eq!(below::account(1).await, Ok(1));
        assert_eq!(above::account(1).await, 1);
        assert_eq!(both::account(1).await, 1);
        assert_eq!(whole::account(1).await, 1);
        assert_eq!(Repo.method(1).await, 1);
        assert_eq!(Repo.handled(1).await, Ok(1));
        assert_eq!(Repo.native(1).await, 1);
        assert_eq!(Repo.object(1).await, 1);
    }
    assert_eq!(RUNS.take(), 8, "each is loaded once");
    let frames = std::mem::take(&mut *FRAMES.lock().unwrap());
    assert_eq!(frames, ["account", "account", "account", "account", "method", "handled", "native"]);
    below::account::invalidate(1).await.unwrap();
    Repo.handled_entry(1).invalidate().await.unwrap();
    assert_eq!(below::account::peek(1).await, None);
}
