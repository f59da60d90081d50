//! Every form of function that `#[invalidates]` takes.

use std::{
    error::Error,
    fmt::Display,
    pin::Pin,
    rc::Rc,
    sync::{Arc, LazyLock},
};

use cached_aside::{Cache, cached, invalidates};
use serde::Serialize;

use crate::support::{DbError, Runs, User, is_send};

#[cached("invalidates:note:{id}", ttl = "1m")]
async fn note(id: u32) -> u32 {
    id
}

#[cached("invalidates:sum", ttl = "1m", local)]
fn sum(a: u32, b: u32) -> u32 {
    a + b
}

#[cached("invalidates:text", ttl = "1m")]
async fn text(of: &str) -> usize {
    of.len()
}

#[cached("invalidates:typed:{id}", ttl = "1m")]
async fn typed<T: Default + Display>(id: u32) -> String {
    format!("{} {id}", T::default())
}

/// Returns whether note 1 is cached, and caches it.
async fn is_kept() -> bool {
    let is_kept = note::peek(1).await.is_some();
    note(1).await;
    is_kept
}

mod elsewhere {
    use cached_aside::cached;

    #[cached("invalidates:elsewhere", ttl = "1m")]
    pub(crate) async fn page(number: u32) -> u32 {
        number
    }
}

#[invalidates(note(id))]
async fn unit(id: u32) {}

#[invalidates(note(id))]
async fn plain(id: u32, mut text: String) -> String {
    text.push('!');
    text
}

#[invalidates(note(id))]
async fn fallible(id: u32, is_right: bool) -> Result<(), DbError> {
    if !is_right {
        return Err(DbError);
    }
    let done: Result<(), DbError> = Ok(());
    done?;
    Ok(())
}

type Answer<T = ()> = Result<T, Box<dyn Error>>;

/// Function with an error that is not `Send`, although its call is.
#[invalidates(note(id))]
async fn alias(id: u32, number: &str) -> Answer<u32> {
    Ok(number.parse::<u32>()?)
}

#[invalidates(note(*id))]
async fn opaque(id: &u32, is_right: bool) -> Result<impl Display, DbError> {
    if is_right { Ok(*id) } else { Err(DbError) }
}

#[invalidates(note(id))]
async fn local(id: u32) -> Result<Rc<u32>, DbError> {
    Ok(Rc::new(id))
}

#[invalidates(note(id), note(id + 1), sum(id, 2), text(&title), typed::<u64>(id), elsewhere::page(id),)]
async fn many(id: u32, title: String) -> String {
    title
}

#[tokio::test]
async fn outcomes() {
    is_kept().await;
    unit(1).await;
    assert!(!is_kept().await);
    unit(2).await;
    assert!(is_kept().await);
    assert_eq!(is_send(plain(1, "x".to_owned())).await, "x!");
    assert!(!is_kept().await);
    assert_eq!(is_send(fallible(1, false)).await, Err(DbError));
    assert!(is_kept().await);
    assert_eq!(fallible(1, true).await, Ok(()));
    assert!(!is_kept().await);
    let failed = is_send(async { alias(1, "x").await.is_err() }).await;
    assert!(failed && is_kept().await);
    assert_eq!(alias(1, "7").await.unwrap(), 7);
    assert!(!is_kept().await);
    assert!(opaque(&1, false).await.is_err() && is_kept().await);
    assert_eq!(opaque(&1, true).await.unwrap().to_string(), "1");
    assert!(!is_kept().await);
    assert_eq!(local(1).await.as_deref(), Ok(&1));
    assert!(!is_kept().await);
}

#[tokio::test]
async fn several_entries() {
    note(41).await;
    sum(40, 2);
    text("x").await;
    typed::<u64>(40).await;
    typed::<u32>(40).await;
    elsewhere::page(40).await;
    assert_eq!(is_send(many(40, "x".to_owned())).await, "x");
    assert_eq!(note::peek(41).await, None);
    assert_eq!(sum::peek(40, 2), None);
    assert_eq!(text::peek("x").await, None);
    assert_eq!(typed::peek::<u64>(40).await, None);
    assert!(typed::peek::<u32>(40).await.is_some());
    assert_eq!(elsewhere::page::peek(40).await, None);
}

static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache::builder().build().unwrap());

#[cached("invalidates:owner:{owner}:{id}", ttl = "1m", cache = CACHE, tags = ["owner:{owner}", "all"])]
async fn owned(owner: &str, id: u32) -> u32 {
    id
}

async fn are_kept() -> [bool; 2] {
    let are_kept = [owned::peek("a", 1).await.is_some(), owned::peek("b", 1).await.is_some()];
    (owned("a", 1).await, owned("b", 1).await);
    are_kept
}

#[invalidates(tags = ["owner:{owner}"], cache = CACHE)]
async fn by_tag(owner: &str) {}

#[invalidates(tags = ["owner:{user.name}", "id:{hash(user)}", "{user.id}"], cache = *CACHE)]
async fn by_field(user: User) -> User {
    user
}

#[invalidates(prefix = "invalidates:owner:{owner}:", cache = CACHE)]
async fn by_prefix(owner: &str) {}

#[invalidates(prefix = ["invalidates:*:{owner}:*", "nothing"], cache = CACHE)]
async fn by_pattern(owner: &str) {}

#[invalidates(clear, cache = CACHE)]
async fn all() {}

#[invalidates(tags = ["owner:{a}", "owner:{c}", "pair:{e}"], note(f[0]), cache = CACHE)]
async fn patterns(
    (a, _): (&str, u32),
    User { name: c, .. }: User,
    [e, ref f @ ..]: [u32; 2],
    _: (),
) -> String {
    let [f] = f;
    format!("{a} {c} {e} {f}")
}

#[tokio::test]
async fn groups() {
    are_kept().await;
    by_tag("a").await;
    assert_eq!(are_kept().await, [false, true]);
    let user = User { id: 1, name: "b".to_owned() };
    is_send(by_field(user)).await;
    assert_eq!(are_kept().await, [true, false]);
    by_prefix("a").await;
    assert_eq!(are_kept().await, [false, true]);
    by_pattern("b").await;
    assert_eq!(are_kept().await, [true, false]);
    all().await;
    assert_eq!(are_kept().await, [false, false]);
    let user = User { id: 1, name: "b".to_owned() };
    assert_eq!(is_send(patterns(("a", 1), user, [1, 81], ())).await, "a b 1 81");
    assert_eq!(are_kept().await, [false, false]);
}

struct Notes {
    owner: String,
    cache: Cache,
    runs: Runs,
}

impl Notes {
    fn new() -> Self {
        Self { owner: "a".to_owned(), cache: Cache::builder().build().unwrap(), runs: Runs::new() }
    }

    #[cached(
        "invalidates:title:{self.owner}:{id}",
        ttl = "1m",
        cache = self.cache,
        tags = ["of:{self.owner}"],
        handle = title_entry
    )]
    async fn title(&self, id: u32) -> String {
        self.runs.add();
        id.to_string()
    }

    #[cached("invalidates:named:{id}", ttl = "1m", method, handle = named_entry)]
    async fn named(id: u32) -> u32 {
        id
    }

    /// Method with a doc comment.
    #[invalidates(self.title_entry(id), Self::named_entry(id), Notes::named_entry(id + 1), note::invalidate(id + 50))]
    #[must_use]
    pub async fn edit(&self, id: u32) -> usize {
        self.owner.len()
    }

    #[invalidates(tags = ["of:{self.owner}"], cache = self.cache)]
    async fn change(&mut self, owner: &str) -> Result<(), DbError> {
        if owner.is_empty() {
            return Err(DbError);
        }
        self.owner = owner.to_owned();
        Ok(())
    }

    #[invalidates(tags = ["of:{self.owner}"], cache = self.cache)]
    async fn consume(mut self) -> Self {
        self.owner.push('x');
        self
    }

    #[invalidates(self.title_entry(id))]
    async fn shared(self: Arc<Self>, id: u32) {
        drop(self);
    }

    #[invalidates(self.title_entry(id))]
    fn boxed<'a>(&'a self, id: u32) -> Pin<Box<dyn Future<Output = Answer<u32>> + Send + 'a>> {
        Box::pin(async move { if id > 0 { Ok(id) } else { Err("zero".into()) } })
    }

    #[invalidates(self.title_entry(id))]
    fn future(&self, id: u32) -> impl Future<Output = Option<u32>> + Send {
        async move { Some(self.runs.take() as u32 + id) }
    }

    /// Returns whether the title of note 1 was invalidated.
    async fn is_forgotten(&self) -> bool {
        self.runs.take();
        self.title(1).await;
        self.runs.take() == 1
    }
}

#[tokio::test]
async fn methods() {
    let mut notes = Notes::new();
    assert!(notes.is_forgotten().await && !notes.is_forgotten().await);
    Notes::named(1).await;
    assert_eq!(is_send(notes.edit(1)).await, 1);
    assert!(notes.is_forgotten().await);
    assert_eq!(Notes::named_entry(1).peek().await, None);
    assert_eq!(is_send(notes.change("")).await, Err(DbError));
    assert!(!notes.is_forgotten().await);
    assert_eq!(notes.change("b").await, Ok(()));
    assert!(notes.is_forgotten().await, "it has another owner");
    notes.change("a").await.unwrap();
    assert!(notes.is_forgotten().await, "the tag had the old owner's name");
    let mut notes = is_send(notes.consume()).await;
    notes.owner = "a".to_owned();
    assert!(notes.is_forgotten().await);
    assert!(notes.boxed(0).await.is_err());
    assert_eq!(notes.boxed(1).await.unwrap(), 1);
    assert!(notes.is_forgotten().await);
    assert_eq!(is_send(notes.future(1)).await, Some(1));
    assert!(notes.is_forgotten().await);
    let notes = Arc::new(notes);
    notes.clone().shared(1).await;
    assert!(notes.is_forgotten().await);
}

#[async_trait::async_trait]
trait Editor {
    async fn edit_text(&self, id: u32, text: &str) -> Answer;

    #[invalidates(note(id))]
    async fn touch(&self, id: u32)
    where
        Self: Sync,
    {
        note(id).await;
    }
}

#[async_trait::async_trait]
impl Editor for Notes {
    #[invalidates(self.title_entry(id), tags = ["text:{text}", "of:{self.owner}"])]
    async fn edit_text(&self, id: u32, text: &str) -> Answer {
        let _: u32 = id + text.parse::<u32>()?;
        Ok(())
    }
}

trait Native {
    fn save(&self, id: u32) -> impl Future<Output = Result<u32, DbError>> + Send;

    #[allow(async_fn_in_trait)]
    #[invalidates(note(id))]
    async fn by_default(&self, id: u32) -> Option<u32> {
        Some(id)?.into()
    }
}

impl Native for Notes {
    #[invalidates(self.title_entry(id))]
    async fn save(&self, id: u32) -> Result<u32, DbError> {
        Ok(id.checked_sub(1).ok_or(DbError)?)
    }
}

#[tokio::test]
async fn traits() {
    let notes = Notes::new();
    notes.title(1).await;
    assert!(is_send(notes.edit_text(1, "x")).await.is_err());
    assert!(!notes.is_forgotten().await);
    assert!(notes.edit_text(1, "7").await.is_ok());
    assert!(notes.is_forgotten().await);
    assert_eq!(is_send(notes.save(0)).await, Err(DbError));
    assert!(!notes.is_forgotten().await);
    assert_eq!(notes.save(1).await, Ok(0));
    assert!(notes.is_forgotten().await);
    is_send(notes.touch(61)).await;
    assert_eq!(notes.by_default(62).await, Some(62));
}

#[invalidates(tags = ["of:{of}", "n:{n}"], note(N))]
async fn generic<T: Serialize + ?Sized, const N: u32>(of: &T, n: impl Serialize + Send) -> u32
where
    T: Sync,
{
    drop(n);
    N
}

#[invalidates(text(b), text(a.unwrap_or_default()))]
async fn lifetimes<'a, 'b: 'a>(a: Option<&'a str>, b: &'b str) -> &'a str {
    a.unwrap_or(b)
}

#[invalidates(note(id))]
async fn diverging(id: u32) -> Result<u32, DbError> {
    if id > 0 {
        return Ok(id);
    }
    return Err(DbError);
}

#[allow(dead_code)]
#[invalidates(note(r#type))]
async unsafe fn raw(r#type: u32) {}

/// Function with both attributes.
#[invalidates(note(id))]
#[cached("invalidates:both:{id}", ttl = "1m", tags = ["both:{id}"])]
async fn both(id: u32) -> Result<u32, DbError> {
    Ok(id)
}

macro_rules! writer {
    ($name:ident, $id:ident, $ty:ty) => {
        #[invalidates(note($id), tags = ["note:{id}"])]
        async fn $name($id: $ty) -> Result<$ty, DbError> {
            Ok($id)
        }
    };
}

writer!(by_macro, id, u32);

#[tokio::test]
async fn signatures() {
    assert_eq!(is_send(generic::<str, 3>("x", 1)).await, 3);
    assert_eq!(is_send(lifetimes(None, "x")).await, "x");
    assert_eq!(diverging(0).await, Err(DbError));
    assert_eq!(diverging(71).await, Ok(71));
    assert_eq!(both(72).await, Ok(72));
    assert_eq!(both::peek(72).await, Some(Ok(72)));
    assert_eq!(by_macro(73).await, Ok(73));
}
