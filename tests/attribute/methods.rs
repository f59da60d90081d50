//! Methods: in `impl` blocks, in traits, and with handles.

use std::{
    marker::PhantomData,
    sync::{Arc, LazyLock},
};

use cached_aside::{Cache, CacheControl, cached};

use crate::support::{DbError, Runs, is_send};

struct Repo {
    tenant: u32,
    runs: Runs,
}

impl Repo {
    fn new(tenant: u32) -> Self {
        Self { tenant, runs: Runs::new() }
    }

    #[cached("methods:user:{self.tenant}:{id}", ttl = "5m", handle = user_entry)]
    async fn user(&self, id: u64) -> Option<String> {
        self.runs.add();
        let name = format!("user {id} of {}", self.tenant);
        let found = (id > 0).then_some(name)?;
        if id == 1 {
            return Some("root".to_owned());
        }
        Some(found)
    }

    #[cached("methods:text", ttl = "5m", skip(self), handle = text_entry)]
    async fn text(&self, text: &str, many: Option<&[u8]>) -> Result<usize, DbError> {
        self.runs.add();
        let length = text.parse::<usize>().map_err(|_| DbError)?;
        Ok(length + many.map_or(0, <[u8]>::len))
    }

    #[cached("methods:square", ttl = "5m", local, skip(self))]
    fn square(&self, x: u64) -> u64 {
        self.runs.add();
        x * x
    }

    #[cached("methods:cube", ttl = "5m", local, skip(self), handle = cube_entry)]
    fn cube(&self, mut x: u64, (a, b): (u64, u64)) -> Result<u64, DbError> {
        self.runs.add();
        x = x.checked_pow(3).ok_or(DbError)?;
        Ok(x + a + b)
    }

    #[cached("methods:mutable", ttl = "5m", skip(self))]
    async fn mutable(&mut self, x: u32) -> u32 {
        self.tenant += 1;
        self.runs.add();
        x
    }

    #[cached("methods:typed:{self.tenant}", ttl = "5m")]
    async fn typed(self: &Self) -> u32 {
        self.runs.add();
        self.tenant
    }

    #[cached("methods:shared:{self.tenant}:{x}", ttl = "5m", handle = shared_entry)]
    async fn shared(self: Arc<Self>, x: u32) -> u32 {
        self.runs.add();
        self.tenant + x
    }

    #[cached("methods:detached:{self.tenant}:{x}", ttl = "5m", detach = true, handle = detached_entry)]
    async fn detached(self: Arc<Self>, x: String) -> String {
        self.runs.add();
        format!("{} {x}", self.tenant)
    }

    #[cached("methods:by_reference:{self.tenant}", ttl = "5m")]
    async fn by_reference(self: &Arc<Self>) -> u32 {
        self.runs.add();
        self.tenant
    }
}

#[tokio::test]
async fn plain_methods() {
    let (repo, other) = (Repo::new(3), Repo::new(4));
    for _ in 0..3 {
        assert_eq!(repo.user(7).await.as_deref(), Some("user 7 of 3"));
        assert_eq!(repo.user(1).await.as_deref(), Some("root"));
    }
    assert_eq!(repo.runs.take(), 2);
    assert_eq!(other.user(7).await.as_deref(), Some("user 7 of 4"));
    assert_eq!(repo.user(0).await, None);
    assert_eq!(repo.user(0).await, None);
    assert_eq!(repo.runs.take(), 2, "`None` is kept");
    assert_eq!((repo.square(4), repo.square(4), other.square(4)), (16, 16, 16));
    assert_eq!((repo.runs.take(), other.runs.take()), (1, 1));
    assert_eq!(repo.typed().await + repo.typed().await, 6);
    assert_eq!(repo.runs.take(), 1);
}

#[tokio::test]
async fn handles() {
    let repo = Repo::new(13);
    assert_eq!(repo.user_entry(7).get().await.as_deref(), Some("user 7 of 13"));
    assert_eq!(repo.user_entry(7).get().await.as_deref(), Some("user 7 of 13"));
    assert_eq!(repo.runs.take(), 1);
    assert!(repo.user_entry(7).with(CacheControl::new()).await.outcome.is_hit());
    assert!(repo.user_entry(7).peek().await.is_some());
    repo.user_entry(7).refresh().await;
    assert_eq!(repo.runs.take(), 1);
    repo.user_entry(7).invalidate().await.unwrap();
    assert!(repo.user_entry(7).peek().await.is_none());
    assert!(repo.user_entry(7).with(CacheControl::only_if_cached()).await.is_none());
    assert_eq!(repo.user_entry(7).key().unwrap(), "cached-aside:methods:user:13:7");
    assert_eq!(repo.runs.take(), 0);
    repo.user(7).await;
    assert_eq!(repo.runs.take(), 1);

    let text = String::from("12");
    let bytes = vec![0];
    for _ in 0..2 {
        assert_eq!(repo.text(&text, Some(&bytes)).await, Ok(13));
        assert_eq!(repo.text("x", None).await, Err(DbError));
    }
    assert_eq!(repo.runs.take(), 3);
    is_send(repo.text_entry(&text, Some(&bytes)).invalidate()).await.unwrap();
    assert!(repo.text_entry(&text, Some(&bytes)).peek().await.is_none());

    for _ in 0..2 {
        assert_eq!(repo.cube(2, (1, 1)), Ok(10));
        assert_eq!(repo.cube(u64::MAX, (1, 1)), Err(DbError));
    }
    assert_eq!(repo.runs.take(), 3);
    assert_eq!(repo.cube_entry(2, (1, 1)).peek(), Some(Ok(10)));
    repo.cube_entry(2, (1, 1)).invalidate().unwrap();
    assert_eq!(repo.cube_entry(2, (1, 1)).refresh(), Ok(10));
    assert!(repo.cube_entry(2, (1, 1)).with(CacheControl::new()).outcome.is_hit());
    assert_eq!(repo.cube_entry(2, (1, 1)).get(), Ok(10));
    assert!(repo.cube_entry(2, (1, 1)).key().is_ok());
    assert_eq!(repo.runs.take(), 1);
}

#[tokio::test]
async fn receivers() {
    let mut repo = Repo::new(23);
    assert_eq!((repo.mutable(1).await, repo.mutable(1).await), (1, 1));
    assert_eq!((repo.runs.take(), repo.tenant), (1, 24));

    let repo = Arc::new(repo);
    for _ in 0..2 {
        assert_eq!(repo.clone().shared(1).await, 25);
        assert_eq!(repo.clone().detached("x".to_owned()).await, "24 x");
        assert_eq!(repo.by_reference().await, 24);
    }
    assert_eq!(repo.runs.take(), 3);
    repo.clone().shared_entry(1).invalidate().await.unwrap();
    repo.clone().detached_entry("x".to_owned()).refresh().await;
    assert_eq!(repo.clone().shared(1).await, 25);
    assert_eq!(repo.runs.take(), 2);
}

#[derive(Clone)]
struct Query {
    words: Vec<String>,
}

static QUERIES: Runs = Runs::new();

impl Query {
    #[cached("methods:query:{self.words}", ttl = "5m")]
    async fn run(mut self) -> usize {
        QUERIES.add();
        self.words.push("limit".to_owned());
        self.words.len()
    }

    #[cached("methods:query:{self.words}:{x}", ttl = "5m", handle = count_entry)]
    async fn count(mut self, mut x: usize) -> usize {
        QUERIES.add();
        self.words.clear();
        x += self.words.len();
        x
    }
}

#[tokio::test]
async fn receivers_by_value() {
    let query = Query { words: vec!["a".to_owned()] };
    assert_eq!((query.clone().run().await, query.clone().run().await), (2, 2));
    assert_eq!((query.clone().count(5).await, query.clone().count(5).await), (5, 5));
    assert_eq!(QUERIES.take(), 2);
    query.clone().count_entry(5).invalidate().await.unwrap();
    query.count(5).await;
    assert_eq!(QUERIES.take(), 1);
}

static ASSOCIATED: Runs = Runs::new();

struct Shop {
    id: u32,
}

impl Shop {
    #[cached("methods:new:{id}", ttl = "5m", local, weight = |shop| size_of_val(&**shop))]
    async fn new(id: u32) -> Arc<Self> {
        ASSOCIATED.add();
        Arc::new(Self { id })
    }

    #[cached("methods:plain", ttl = "5m", method)]
    async fn plain(id: u32) -> u32 {
        ASSOCIATED.add();
        id
    }

    #[cached("methods:same", ttl = "5m", skip(other), handle = same_entry)]
    async fn same(other: &Self, id: u32) -> u32 {
        ASSOCIATED.add();
        other.id + id
    }

    #[cached("methods:sync", ttl = "5m", method, local, handle = sync_entry)]
    fn sync<const N: u32>(id: u32) -> u32 {
        ASSOCIATED.add();
        id + N
    }
}

#[tokio::test]
async fn associated_functions() {
    let shop = Shop::new(1).await;
    assert!(Arc::ptr_eq(&shop, &Shop::new(1).await));
    assert_eq!(ASSOCIATED.take(), 1);
    for _ in 0..2 {
        assert_eq!(Shop::plain(4).await, 4);
        assert_eq!(Shop::same(&shop, 4).await, 5);
        assert_eq!(Shop::sync::<1>(1), 2);
        assert_eq!(Shop::sync::<2>(1), 3);
    }
    assert_eq!(ASSOCIATED.take(), 4);
    Shop::same_entry(&shop, 4).invalidate().await.unwrap();
    Shop::sync_entry::<1>(1).invalidate().unwrap();
    assert_eq!(Shop::sync_entry::<2>(1).peek(), Some(3));
    Shop::same(&shop, 4).await;
    Shop::sync::<1>(1);
    assert_eq!(ASSOCIATED.take(), 2);
}

trait Name {
    const NAME: &'static str;
}

struct Posts;
struct Pages;

impl Name for Posts {
    const NAME: &'static str = "posts";
}

impl Name for Pages {
    const NAME: &'static str = "pages";
}

struct Table<T> {
    runs: Arc<Runs>,
    marker: PhantomData<T>,
}

impl<T: Name> Table<T> {
    fn new(runs: &Arc<Runs>) -> Self {
        Self { runs: runs.clone(), marker: PhantomData }
    }
}

impl<T: Name + Sync> Table<T> {
    #[cached("methods:table:{id}", ttl = "5m", skip(self), handle = row_entry)]
    async fn row(&self, id: u32) -> String {
        self.runs.add();
        format!("{} {id}", T::NAME)
    }

    #[cached("methods:table", ttl = "5m", skip(self))]
    async fn bare(&self, id: u32) -> String {
        self.runs.add();
        format!("{} {id}", T::NAME)
    }

    #[cached(ttl = "5m", skip(self))]
    async fn unnamed<K: Name>(&self, id: u32) -> String {
        self.runs.add();
        format!("{} {} {id}", T::NAME, K::NAME)
    }

    #[cached("methods:table:local", ttl = "5m", skip(self), local)]
    fn local<K: Name>(&self, id: u32) -> String {
        self.runs.add();
        format!("{} {} {id}", T::NAME, K::NAME)
    }
}

#[tokio::test]
async fn instances_of_a_generic_type_share_nothing() {
    let runs = Arc::default();
    let (posts, pages) = (Table::<Posts>::new(&runs), Table::<Pages>::new(&runs));
    for _ in 0..2 {
        assert_eq!((posts.row(1).await, pages.row(1).await), ("posts 1".into(), "pages 1".into()));
        assert_eq!((posts.bare(1).await, pages.bare(1).await), ("posts 1".into(), "pages 1".into()));
        assert_eq!(posts.unnamed::<Pages>(1).await, "posts pages 1");
        assert_eq!(posts.unnamed::<Posts>(1).await, "posts posts 1");
        assert_eq!(pages.unnamed::<Posts>(1).await, "pages posts 1");
        assert_eq!(posts.local::<Pages>(1), "posts pages 1");
        assert_eq!(posts.local::<Posts>(1), "posts posts 1");
        assert_eq!(pages.local::<Posts>(1), "pages posts 1");
    }
    assert_eq!(runs.take(), 10);
    posts.row_entry(1).invalidate().await.unwrap();
    assert!(posts.row_entry(1).peek().await.is_none());
    assert!(pages.row_entry(1).peek().await.is_some());
    // Another value of the same type finds the entry.
    posts.row(1).await;
    Table::<Posts>::new(&runs).row(1).await;
    assert_eq!(runs.take(), 1);
}

static DEFAULTS: Runs = Runs::new();

trait Greeter {
    fn name(&self) -> String;

    #[cached("methods:greet", ttl = "5m", skip(self))]
    async fn greet(&self, whom: &str) -> String {
        DEFAULTS.add();
        format!("{} greets {whom}", self.name())
    }

    #[cached(ttl = "5m", skip(self), local)]
    fn wave(&self) -> String {
        DEFAULTS.add();
        format!("{} waves", self.name())
    }
}

impl Greeter for Posts {
    fn name(&self) -> String {
        "posts".to_owned()
    }
}

impl Greeter for Pages {
    fn name(&self) -> String {
        "pages".to_owned()
    }
}

#[tokio::test]
async fn default_methods_of_a_trait_belong_to_each_implementor() {
    for _ in 0..2 {
        assert_eq!(Posts.greet("Ada").await, "posts greets Ada");
        assert_eq!(Pages.greet("Ada").await, "pages greets Ada");
        assert_eq!((Posts.wave(), Pages.wave()), ("posts waves".into(), "pages waves".into()));
    }
    assert_eq!(DEFAULTS.take(), 4);
}

static IMPLS: Runs = Runs::new();

trait Load<T> {
    async fn load(&self, id: u32) -> Result<String, DbError>;
    async fn unnamed(&self, id: u32) -> Result<String, DbError>;
}

impl Load<Posts> for Shop {
    #[cached("methods:load:posts:{self.id}:{id}", ttl = "5m")]
    async fn load(&self, id: u32) -> Result<String, DbError> {
        IMPLS.add();
        if id == 0 {
            return Err(DbError);
        }
        Ok(format!("post {id}"))
    }

    #[cached(ttl = "5m", skip(self))]
    async fn unnamed(&self, id: u32) -> Result<String, DbError> {
        IMPLS.add();
        Ok(format!("post {id}"))
    }
}

impl Load<Pages> for Shop {
    #[cached("methods:load:pages:{self.id}:{id}", ttl = "5m")]
    async fn load(&self, id: u32) -> Result<String, DbError> {
        IMPLS.add();
        Ok(format!("page {id}"))
    }

    // The name, the type and the arguments are the same as above. Only the trait differs.
    #[cached(ttl = "5m", skip(self))]
    async fn unnamed(&self, id: u32) -> Result<String, DbError> {
        IMPLS.add();
        Ok(format!("page {id}"))
    }
}

struct Any;

impl<T: Name + Sync> Load<T> for Any {
    #[cached("methods:any", ttl = "5m", skip(self))]
    async fn load(&self, id: u32) -> Result<String, DbError> {
        IMPLS.add();
        Ok(format!("{} {id}", T::NAME))
    }

    #[cached(ttl = "5m", skip(self))]
    async fn unnamed(&self, id: u32) -> Result<String, DbError> {
        IMPLS.add();
        Ok(format!("{} {id}", T::NAME))
    }
}

#[tokio::test]
async fn methods_of_trait_impls() {
    let shop = Shop { id: 1 };
    for _ in 0..2 {
        assert_eq!(Load::<Posts>::load(&shop, 1).await.unwrap(), "post 1");
        assert_eq!(Load::<Pages>::load(&shop, 1).await.unwrap(), "page 1");
        assert_eq!(Load::<Posts>::unnamed(&shop, 1).await.unwrap(), "post 1");
        assert_eq!(Load::<Pages>::unnamed(&shop, 1).await.unwrap(), "page 1");
        assert_eq!(Load::<Posts>::load(&Any, 1).await.unwrap(), "posts 1");
        assert_eq!(Load::<Pages>::load(&Any, 1).await.unwrap(), "pages 1");
        assert_eq!(Load::<Posts>::unnamed(&Any, 1).await.unwrap(), "posts 1");
        assert_eq!(Load::<Pages>::unnamed(&Any, 1).await.unwrap(), "pages 1");
    }
    assert_eq!(IMPLS.take(), 8);
    assert!(Load::<Posts>::load(&shop, 0).await.is_err());
}

#[async_trait::async_trait]
trait Users<K>: Sync {
    async fn name(&self, id: u64) -> Result<String, DbError>;

    async fn text<T: ToString + Send + Sync>(&self, of: T, label: &str) -> Option<String>
    where
        Self: Sized;

    #[cached("methods:users:{id}", ttl = "5m", skip(self))]
    async fn twice(&self, id: u64) -> String {
        DYN.add();
        self.name(id).await.unwrap_or_default().repeat(2)
    }
}

static DYN: Runs = Runs::new();

#[async_trait::async_trait]
impl<K: Name + Send + Sync> Users<K> for Table<K> {
    #[cached("methods:name:{id}", ttl = "5m", skip(self))]
    async fn name(&self, id: u64) -> Result<String, DbError> {
        self.runs.add();
        if id == 0 {
            return Err(DbError);
        }
        Ok(format!("{} {id}", K::NAME))
    }

    #[cached("methods:text:{label}", ttl = "5m", skip(self, of))]
    async fn text<T: ToString + Send + Sync>(&self, of: T, label: &str) -> Option<String> {
        self.runs.add();
        Some(format!("{} {label}", of.to_string()))
    }
}

#[tokio::test]
async fn async_trait_methods() {
    let runs = Arc::default();
    let (posts, pages) = (Table::<Posts>::new(&runs), Table::<Pages>::new(&runs));
    {
        let (posts, pages): (&dyn Users<Posts>, &dyn Users<Pages>) = (&posts, &pages);
        for _ in 0..2 {
            assert_eq!(posts.name(7).await.unwrap(), "posts 7");
            assert_eq!(pages.name(7).await.unwrap(), "pages 7");
            assert!(posts.name(0).await.is_err());
        }
        assert_eq!(runs.take(), 4);
        for _ in 0..2 {
            assert_eq!(posts.twice(7).await, "posts 7posts 7");
            assert_eq!(pages.twice(7).await, "pages 7pages 7");
        }
        assert_eq!(DYN.take(), 2);
    }
    let label = String::from("x");
    for _ in 0..2 {
        assert_eq!(posts.text(1, &label).await.unwrap(), "1 x");
        assert_eq!(posts.text("a", &label).await.unwrap(), "a x", "another type of argument");
    }
    assert_eq!(runs.take(), 2);
    is_send(posts.name(7)).await.unwrap();
}

static SHARED: LazyLock<Cache> = LazyLock::new(|| Cache::builder().build().unwrap());

struct Service {
    cache: Cache,
    runs: Runs,
}

impl Service {
    #[cached("methods:own:{id}", ttl = "5m", cache = self.cache, skip(self), handle = own_entry)]
    async fn own(&self, id: u32) -> u32 {
        self.runs.add();
        id
    }

    #[cached("methods:lazy:{id}", ttl = "5m", cache = SHARED, skip(self), local)]
    fn lazy(&self, id: u32) -> u32 {
        self.runs.add();
        id
    }

    #[cached("methods:arc:{id}", ttl = "5m", cache = self.cache, skip(self))]
    async fn by_arc(self: Arc<Self>, id: u32) -> u32 {
        self.runs.add();
        id
    }
}

#[tokio::test]
async fn caches_of_their_own() {
    let service = || Service { cache: Cache::builder().build().unwrap(), runs: Runs::new() };
    let (a, b) = (Arc::new(service()), Arc::new(service()));
    for _ in 0..2 {
        assert_eq!((a.own(1).await, b.own(1).await), (1, 1));
        assert_eq!((a.clone().by_arc(1).await, b.clone().by_arc(1).await), (1, 1));
    }
    assert_eq!((a.runs.take(), b.runs.take()), (2, 2));
    assert_eq!((a.cache.stats().hits_l1, b.cache.stats().hits_l1), (2, 2));
    a.own_entry(1).invalidate().await.unwrap();
    assert!(a.own_entry(1).peek().await.is_none());
    assert!(b.own_entry(1).peek().await.is_some());
    assert_eq!((a.lazy(1), b.lazy(1)), (1, 1));
    assert_eq!(SHARED.stats().hits_l1, 1);
}

/// Type with methods that have bodies of one expression.
///
/// Their generated code must not count as a block with needless braces.
struct OneLiners(u32);

#[rustfmt::skip]
impl OneLiners {
    #[cached("methods:one:{self.0}:{id}", ttl = 60)]
    async fn plain(&self, id: u32) -> u32 { id + self.0 }

    #[cached("methods:one_handle:{self.0}:{id}", ttl = 60, handle = with_handle_entry)]
    async fn with_handle(&self, id: u32) -> Option<u32> { Some(id + self.0) }
}

#[tokio::test]
async fn one_liners() {
    assert_eq!(OneLiners(1).plain(2).await, 3);
    assert_eq!(OneLiners(1).with_handle(2).await, Some(3));
    assert_eq!(OneLiners(1).with_handle_entry(2).peek().await, Some(Some(3)));
}
