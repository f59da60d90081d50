//! Tags, and options that concern several processes, on every form of function.

use std::{fmt::Debug, sync::Arc};

use cached_aside::{Cache, cached, tag};
use serde::{Serialize, de::DeserializeOwned};

use crate::support::{DbError, Runs, User, is_send};

static RUNS: Runs = Runs::new();

#[cached(
    "tags:template:{user.id}:{hash(question)}",
    ttl = "1m",
    tags = ["user:{user.id}", "name:{user.name}", "users"]
)]
async fn template(user: &User, question: &str) -> String {
    RUNS.add();
    format!("{} {question}", user.id)
}

#[cached("tags:bare", ttl = "1m", tags = ["exam:{exam}", "year:{hash(year)}"], skip(runs))]
async fn bare(runs: &Runs, exam: &str, year: Option<u32>) -> Result<String, DbError> {
    runs.add();
    year.map(|year| format!("{exam} {year}")).ok_or(DbError)
}

#[cached(ttl = "1m", tags = ["own:{exam}",])]
async fn own(exam: String) -> String {
    RUNS.add();
    exam
}

#[cached("tags:key", ttl = "1m", key = format!("{a}-{}", b.id), tags = ["user:{b.id}", "a:{a}"])]
async fn key(a: u32, b: User) -> u64 {
    RUNS.add();
    u64::from(a) + b.id
}

/// Function with a second argument that only the key and the tag use.
#[cached("tags:unused", ttl = "1m", key = (a, b), tags = ["b:{b}"])]
async fn unused(a: u32, b: u32) -> u32 {
    a
}

#[cached("tags:generic:{of}", ttl = "1m", tags = ["of:{of}"])]
async fn generic<T, const N: usize>(of: &T) -> Vec<T>
where
    T: Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    RUNS.add();
    vec![of.clone(); N]
}

#[cached("tags:opaque", ttl = "1m", tags = ["of:{of}"])]
async fn opaque(of: impl AsRef<str> + Serialize) -> usize {
    RUNS.add();
    of.as_ref().len()
}

#[cached("tags:lifetimes:{a}:{b}", ttl = "1m", tags = ["a:{a}", "b:{b}"])]
async fn lifetimes<'a, 'b: 'a>(a: &'a str, b: Option<&'b str>) -> usize {
    RUNS.add();
    a.len() + b.map_or(0, str::len)
}

#[cached("tags:value:{id}", ttl = "1m", tags = ["all"], tags_from = |user| vec![tag!("name:{}", user.name)])]
async fn by_value(id: u64) -> Result<User, DbError> {
    RUNS.add();
    Ok(User { id, name: "Ada".to_owned() })
}

#[cached("tags:sync:{x}", ttl = "1m", local, coalesce = local, tags = ["x:{x}"])]
fn sync(r#x: u32) -> u32 {
    RUNS.add();
    x
}

#[cached("tags:bound:{x}", ttl = "1m", bound = "200ms", coalesce = local)]
async fn bound(x: u32) -> u32 {
    RUNS.add();
    x
}

#[cached("tags:strict:{x}", ttl = "1m", bound = 0, coalesce = cluster)]
async fn strict(x: u32) -> u32 {
    RUNS.add();
    x
}

#[tokio::test]
async fn free_functions() {
    let user = User { id: 7, name: "Ada".to_owned() };
    for _ in 0..2 {
        assert_eq!(template(&user, "why?").await, "7 why?");
        assert_eq!(bare(&RUNS, "upsc", Some(2026)).await.as_deref(), Ok("upsc 2026"));
        assert_eq!(own("gate".to_owned()).await, "gate");
        assert_eq!(key(1, user.clone()).await, 8);
        assert_eq!(unused(1, 2).await, 1);
        assert_eq!(is_send(generic::<_, 2>(&1_u8)).await, [1, 1]);
        assert_eq!(opaque("abc").await, 3);
        assert_eq!(lifetimes("a", Some("bc")).await, 3);
        assert_eq!(by_value(7).await.as_ref(), Ok(&user));
        assert_eq!(sync(3), 3);
        assert_eq!((bound(1).await, strict(1).await), (1, 1));
    }
    assert_eq!(RUNS.take(), 11);
}

struct Repo {
    tenant: u32,
    cache: Cache,
    runs: Runs,
}

impl Repo {
    #[cached(
        "tags:user:{self.tenant}:{id}",
        ttl = "1m",
        tags = ["tenant:{self.tenant}", "user:{id}"],
        cache = self.cache,
        handle = user_entry
    )]
    async fn user(&self, id: u64) -> Option<User> {
        self.runs.add();
        Some(User { id, name: self.tenant.to_string() })
    }

    #[cached("tags:shared:{self.tenant}:{id}", ttl = "1m", tags = ["user:{id}"], detach = true)]
    async fn shared(self: Arc<Self>, id: u64) -> u64 {
        self.runs.add();
        id
    }

    #[cached("tags:new:{id}", ttl = "1m", tags = ["user:{id}"], method)]
    async fn new_id(id: u64) -> u64 {
        id
    }

    #[cached("tags:root:{self.tenant}:{x}", ttl = "1m", tags = ["x:{x}"], local)]
    fn root(&self, x: f64) -> f64 {
        self.runs.add();
        x.sqrt()
    }
}

#[async_trait::async_trait]
trait Names: Send + Sync {
    async fn name(&self, id: u64, runs: &Runs) -> String;

    #[cached("tags:names:default:{id}", ttl = "1m", tags = ["user:{id}"], skip(self))]
    async fn default(&self, id: u64) -> String {
        id.to_string()
    }
}

#[async_trait::async_trait]
impl Names for Repo {
    #[cached("tags:names:{self.tenant}:{id}", ttl = "1m", tags = ["tenant:{self.tenant}"], skip(runs))]
    async fn name(&self, id: u64, runs: &Runs) -> String {
        runs.add();
        format!("{} {id}", self.tenant)
    }
}

#[tokio::test]
async fn methods() {
    let repo = Arc::new(Repo { tenant: 3, cache: Cache::builder().build().unwrap(), runs: Runs::new() });
    for _ in 0..2 {
        assert!(repo.user(7).await.is_some());
        assert_eq!(repo.clone().shared(7).await, 7);
        assert_eq!(Repo::new_id(7).await, 7);
        assert_eq!(repo.root(4.0), 2.0);
        assert_eq!(repo.name(7, &repo.runs).await, "3 7");
        assert_eq!(Names::default(&*repo, 7).await, "7");
    }
    assert_eq!(repo.runs.take(), 4);
    is_send(repo.user_entry(7).invalidate().into_future()).await.unwrap();
    assert!(repo.user(7).await.is_some());
    assert_eq!(repo.runs.take(), 1);
}
