//! Attribute macros of cached-aside. Depend on `cached-aside`, not on this crate.
//!
//! `parse` turns tokens into options and a function, `check` checks the two against each other, and `expand`
//! generates code. On any error, the function is emitted unchanged, so that the compiler reports no other
//! errors. `#[invalidates]` takes the same steps, in `invalidates`. `errors` collects the messages.

mod check;
mod errors;
mod expand;
mod invalidates;
mod parse;

use proc_macro::TokenStream;

/// Caches the return values of a function.
///
/// ```
/// use cached_aside::{CacheControl, cached};
///
/// struct Shop { currency: &'static str }
///
/// impl Shop {
///     #[cached("price:{self.currency}:{item}", ttl = "10m", jitter = 0.1, handle = price_entry)]
///     async fn price(&self, item: &str) -> Option<u64> {
///         (item == "tea").then_some(450)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cached_aside::Error> {
/// let shop = Shop { currency: "eur" };
/// assert_eq!(shop.price("tea").await, Some(450));
/// assert!(shop.price_entry("tea").with(CacheControl::new()).await.outcome.is_hit());
/// shop.price_entry("tea").invalidate().await?;
/// # Ok(()) }
/// ```
///
/// # Options
///
/// | option | meaning |
/// |---|---|
/// | `"prefix"`, or `prefix = ".."` | names the entries; a template such as `"user:{id}:{hash(question)}"` also defines the key. Placeholders are `{arg}`, `{arg.field}`, `{self.field}` and `{hash(arg)}`. Default: the path of the function |
/// | `ttl = "30m"`, seconds, or a `Duration` expression | the time for which a value is fresh; a hit does not extend it. Required, unless there is `ttl_from` |
/// | `skip(a, self)` | arguments on which the result does not depend; every other argument is part of the key, through its `serde::Serialize`. A field under `#[serde(skip)]` is not: two values that differ only in that field share an entry |
/// | `key = expr` | an expression that replaces the arguments in the key |
/// | `version = 2` | the schema version of the value: values of another version are misses. Default: 0 |
/// | `schema = "user.v1"` | a name for the meaning of the values, in place of the path of this function and of the type: values survive when one of these moves, and functions with the same prefix or template that name the same schema share entries. Default: values of other functions are misses |
/// | `local` | this process only: no serde bounds, and the only mode of functions that are not async. A value whose memory on the heap cannot be measured needs `weight` or `max_entries`, see [below](#memory) |
/// | `cache_if = \|v\| ..` | selects the values to keep. Default: all but the `None` of an `Option` |
/// | `ttl_from = \|v\| ..` | computes the ttl from the value; a value with a ttl of zero is not kept |
/// | `cache_none`, or `cache_none = "10s"` | keeps a `None` as well, with the ttl of a value or with this one |
/// | `cache_err = "5s" if \|e\| ..` | the errors to keep in this process, and their ttl. Their type must be one that is shared, see `share_err`. Default: none |
/// | `share_err = \|e\| ..` | makes the error for the callers that waited for a failed load: from `&E`, another `E`, which is `Send + Sync`. It is called once with the error of the load, and once for each waiting caller with the error that this first call returned. The caller that loaded gets the error itself. Default: a copy if `E` is `Clone`; else the error that its `From<SharedLoadError>` makes of the error's text; else the waiting callers load one after the other |
/// | `stale = "10m"`, seconds, or a `Duration` expression | the time after its ttl for which a value may still be served: while it is loaded again, and if that fails. A failed load is tried again after a tenth of this time (1 s to 30 s). Default: none |
/// | `soft_timeout = "200ms"` | the time for which a caller waits for a fresh value before it takes a stale one: for a load, for a permit under `max_loads`, or for another process. Only a load that runs in its caller (see `detach`) is not left once it has begun. Measured by the clock of the cache. Default: no waiting, where the load has a task of its own |
/// | `refresh_ahead = 0.8` | a hit after this part of the ttl begins to load the value again, in the background. Default: not before the ttl is over |
/// | `load_timeout = "30s"` | a load that takes longer is dropped, and ends in an error of the function, which implements `From<LoadTimeout>`. Waiting is not part of that time, and is bounded as well. A call waits this long for a permit (`max_loads`), and then gets the error. It waits this long for another process, and then loads itself. It waits twice this long for a load that another call has begun, and then gets the error. Measured by the clock of the cache. Default: none; a call then waits 5 min for another process |
/// | `max_loads = 8` | the maximum number of concurrent loads of this function in the process. Other loads wait for a permit, and leave their keys to other processes until they have one. Loads inside of loads do not count. Default: no limit |
/// | `tier_timeout = "500ms"` | the time for which a caller waits for each reply of the shared tier before it continues without; there are one or two replies before a load. The fill of a loaded value is given at least as much time. Default: the timeout of the tier (50 ms for Redis) or, if recent loads of the function in this process took longer than that, about as long as they took, and 2 s at most. While the tier is known to be unavailable, no call waits |
/// | `keep_warm = 100` | the number of keys, up to 10000, that are loaded again before they expire (or before `refresh_ahead`) without a call: those that this process uses most. A key is kept from its second use on, with copies of its arguments. It is dropped if it was not used since its last two renewals. Not for methods and functions that are generic or not async. Default: 0 |
/// | `jitter = 0.1` | shortens each ttl by a random share, up to this one. Default: 0 |
/// | `tags = ["note:{note_id}"]` | up to 32 names under which the entry can be invalidated together with others: by `#[invalidates]`, or `Cache::invalidate_tag`. Placeholders are as in the prefix, and name arguments that are part of the key. Default: none |
/// | `tags_from = \|v\| ..` | computes further tags from the value, as a `Vec<Tag>`: `vec![tag!("author:{}", v.author)]`, with parts that are written as placeholders are. A value with a tag that cannot be written, such as one with a NaN, is not kept |
/// | `bound = "200ms"`, or seconds | the maximum age of the proof that a value in this process is current; with `0`, every hit asks the shared tier. Default: the `staleness_bound` of the cache |
/// | `coalesce = local`, `cluster` | the scope in which concurrent calls share a load: this process, or all processes with the shared tier. Default: `cluster` |
/// | `max_entries = 1000` | the maximum number of entries of this function in the process. Default: only the bytes of all entries are bounded |
/// | `weight = \|v\| ..` | returns the bytes of a value as a `usize`, on the heap and off it; at least the `size_of` of its type is counted. A value is not kept if this panics. Default: an estimate, see [below](#memory) |
/// | `cache = expr` | the cache: anything that dereferences to a `Cache`. Default: the process default |
/// | `companions = name` | for free functions: the name of the type that holds the companions, if a module, a type or a crate has the name of the function. Default: the name of the function |
/// | `handle = name` | for methods: generates a method of this name that returns a `Call`. Not in the `impl` of a trait: give the handle to an inherent method, and call that method from the one of the trait |
/// | `detach = true`, `false` | `true` runs a load in a task of its own, where `tokio::task_local!` values of the caller are not set and `spawn_local` panics; `false` keeps it in its caller. Default: a task, if the arguments can be copied and the future is `Send` |
/// | `method` | marks a function without `self` as part of an `impl` |
/// | `crate = path` | the path at which the runtime is re-exported. Default: `::cached_aside` |
///
/// An argument in a template is readable in the keys of the shared tier; `{hash(arg)}` shows a digest. `-0.0`
/// is the same argument as `0.0`. The keys of methods and of generic functions contain digests of type names.
/// While two builds that name a type differently run beside each other, neither finds the values that the
/// other has stored, nor invalidates them by key.
///
/// All calls that share an entry give it the same tags, so a tag cannot name a skipped argument. If the key
/// contains one field of an argument, a tag may name other fields of it: the field in the key identifies the
/// argument.
///
/// A free function gets companions under its own name: `f::invalidate`, `f::refresh`, `f::warm`, `f::peek`,
/// `f::with` and `f::key`. They are functions of a type of that name. If a module or a type has that name
/// already (E0428, E0255), or if the type hides a crate that is used beside the function (E0223),
/// `companions = f_cache` renames the type: `f_cache::invalidate`, and `#[invalidates(f_cache(..))]`.
///
/// # Memory
///
/// `CacheBuilder::l1_max_bytes` bounds the bytes of all entries in the process. Those of a value are the
/// `size_of` of its type, and its bytes on the heap:
///
/// * A `Copy` type has none.
/// * A `String`, a `Vec<T>`, a `Box<T>` or an `Arc<T>` has its allocation, and what each `T` in it has. So have
///   slices, text and `Option`s of these. `T` is `Copy` or `Serialize`. Each entry counts the whole content of
///   an `Arc`.
/// * Any other type that is `serde::Serialize` has the lengths of its texts and the sizes of its elements, as its
///   `Serialize` implementation reports them. This is an estimate: it includes neither spare capacity nor
///   fields under `#[serde(skip)]`.
/// * For all other types, `weight` or `max_entries` is required. With `max_entries` alone, the heap counts as
///   far as it is seen, which may be as nothing.
///
/// # Other attributes
///
/// `#[cached]` is expanded last, wherever it is among the attributes of the function. Every other attribute
/// sees the function as it is written, in its place, with its name and its `async`. Code that such an
/// attribute puts around the body is around the load, once:
///
/// ```text
/// #[cached("account:{id}", ttl = "1m")]
/// #[tracing::instrument(err)] // a span `account` for each load, and none for a hit; above `#[cached]` it is the same
/// async fn account(id: u64) -> Result<Account, Error> { .. }
/// ```
///
/// `#[must_use]`, `#[deprecated]` and the documentation apply to the function that callers see, and lint
/// levels to this function and to the body. For a span around the whole call, hits included, create the span
/// where the function is called: `account(7).instrument(span).await`. An attribute that drops the attributes
/// below it drops `#[cached]` as well.
#[proc_macro_attribute]
pub fn cached(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::cached(options.into(), &item.into()).into()
}

/// Invalidates entries that a function has made outdated, after its body has run.
///
/// ```
/// use cached_aside::{cached, invalidates};
///
/// #[cached("note:{author}:{id}", ttl = "10m", tags = ["author:{author}"])]
/// async fn note(author: &str, id: u64) -> String {
///     format!("the note {id} of {author}")
/// }
///
/// #[invalidates(note(author, id))]
/// async fn edit(author: &str, id: u64, text: String) -> Result<(), std::io::Error> {
///     // ..writes it.
/// #   drop(text);
///     Ok(())
/// }
///
/// #[invalidates(tags = ["author:{author}"])]
/// async fn remove_author(author: String) -> Option<u64> {
///     // ..and returns how many notes there were.
/// #   drop(author);
/// #   None
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), std::io::Error> {
/// note("ada", 7).await;
/// edit("ada", 7, "..".to_owned()).await?;
/// assert_eq!(note::peek("ada", 7).await, None);
///
/// note("ada", 7).await;
/// remove_author("ada".to_owned()).await;
/// assert_eq!(note::peek("ada", 7).await, None);
/// # Ok(()) }
/// ```
///
/// # Targets
///
/// | target | outdated entries |
/// |---|---|
/// | `syllabus(exam)` | the entry of this call of a cached function. The arguments are expressions: clone values that the body consumes |
/// | `self.name_entry(id)` | the entry of a cached method, through its `handle` |
/// | `tags = ["note:{note_id}"]` | every entry with one of these tags. Placeholders are as in `#[cached]`, and name any argument of the function |
/// | `prefix = "analytics:{user_id}:"`, or a list | every entry with a name that begins with this. A `*` stands for any characters. The shared tier scans all of its keys, whereas a tag costs one round trip: prefer a tag |
/// | `clear` | every entry |
/// | `cache = expr` | the cache of `tags`, `prefix` and `clear`: anything that dereferences to a `Cache`. Default: the process default. A cached function has its own cache |
/// | `crate = path` | the path at which the runtime is re-exported. Default: `::cached_aside` |
///
/// The attribute goes on an async function, or on one that returns a boxed or an opaque future, such as under
/// `#[async_trait]`.
///
/// # When
///
/// The keys are made from the arguments before the body runs, because the body may consume them. A key that
/// cannot be made, as of a NaN, was never cached, and is skipped.
///
/// * An `Ok`, or any type but a `Result`: the function returns when all is invalidated, so the caller reads
///   its own write.
/// * An `Err`: the body is taken not to have written, and nothing is invalidated. If it may have written,
///   invalidate by hand.
/// * A panic, or a call that is dropped before its end: the body may have written, so all is invalidated, in
///   the background.
///
/// A failure of the shared tier does not reach the caller: this process has removed the entries, and the
/// other processes are notified as soon as possible. A caller that needs the result awaits
/// `syllabus::invalidate(exam)` itself.
///
/// Other attributes stay as they are: those below this one, such as `#[instrument]`, apply to the
/// invalidation as well as to the body.
#[proc_macro_attribute]
pub fn invalidates(targets: TokenStream, item: TokenStream) -> TokenStream {
    invalidates::invalidates(targets.into(), &item.into()).into()
}
