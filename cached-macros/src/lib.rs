//! The attributes of cached-aside. Depend on `cached-aside`, not on this crate.
//!
//! `parse` makes options and a function of tokens, `check` holds the two against each other, and `expand` writes what passed. On any
//! error the function is emitted as it was, so that the errors are the only ones. `#[invalidates]` has a folder of its
//! own, and the same steps.

mod check;
mod errors;
mod expand;
mod invalidates;
mod parse;

use proc_macro::TokenStream;

/// Caches what the function returns.
///
/// | option | meaning |
/// |---|---|
/// | `"prefix"`, or `prefix = ".."` | names the entries; a template such as `"user:{id}:{hash(question)}"` also says what the key is. Placeholders are `{arg}`, `{arg.field}`, `{self.field}` and `{hash(arg)}`. Default: the path of the function |
/// | `ttl = "30m"`, seconds, or a `Duration` expression | how long a value is fresh; a hit does not extend it. Required, unless there is `ttl_from` |
/// | `skip(a, self)` | arguments that the result does not depend on; every other argument is part of the key, by its `serde::Serialize`. A field under `#[serde(skip)]` is not: two values that differ only in it share an entry |
/// | `key = expr` | what the key is made of, instead of the arguments |
/// | `version = 2` | the schema of the value: values of another version are misses. Default: 0 |
/// | `schema = "user.v1"` | names what the values are, in the place of the path of this function and of the type: values survive when one of these moves, and functions with the same prefix or template that name the same schema share entries. Default: other functions' values are misses |
/// | `local` | this process only: no serde bounds, and the only mode of functions that are not async. A value that is not `Serialize` counts with its own size only, without what it holds on the heap |
/// | `cache_if = \|v\| ..` | which values are kept. Default: all but the `None` of an `Option` |
/// | `ttl_from = \|v\| ..` | the ttl, from the value; zero keeps nothing |
/// | `cache_none`, or `cache_none = "10s"` | keeps a `None` as well, as long as a value or for this long |
/// | `cache_err = "5s" if \|e\| ..` | which errors are kept, in this process, and for how long. Its type has to be one that is shared, see `share_err`. Default: none |
/// | `share_err = \|e\| ..` | makes the error for the callers that waited for a failed load: from `&E`, another `E`, which is `Send + Sync`. It is called once with the error of the load, and once for each waiting caller with what it returned then. The caller that loaded gets the error itself. Default: a copy if `E` is `Clone`; else what its `From<SharedLoadError>` makes of the error's text; else the waiting callers load one after the other |
/// | `stale = "10m"`, seconds, or a `Duration` expression | how long after its ttl a value may still be served: while it is loaded again, and when that fails. A load that failed is tried again after a tenth of this (1 s to 30 s). Default: not at all |
/// | `soft_timeout = "200ms"` | how long a caller waits for a fresh value before it takes a stale one: for a load, for a place under `max_loads`, or for another process. Only a load that runs in its caller (see `detach`) is not left once it has begun. By the clock of the cache. Default: not at all, where the load has a task of its own |
/// | `refresh_ahead = 0.8` | a hit after this part of the ttl begins to load the value again, beside the caller. Default: not before the ttl is over |
/// | `load_timeout = "30s"` | a load that takes longer is dropped, and ends in an error of the function, which implements `From<LoadTimeout>`. Waiting is no part of that time, and is bounded as well: a call waits for a place (`max_loads`) for as long again and then gets the error, for another process for as long again and then loads itself, and for a load that another call has begun for twice this and then gets the error. By the clock of the cache. Default: none; then a call waits for another process for 5 min |
/// | `max_loads = 8` | how many loads of this function go on at a time in the process; others wait, and leave their keys to other processes until their turn has come. Loads inside of loads do not count. Default: as many as there are |
/// | `tier_timeout = "500ms"` | how long a caller waits for each answer of the shared tier before it goes on without: there are one or two before a load. A value that was loaded is given at least as long to be stored. Default: the tier's own (50 ms for Redis) or, where loads of the function have lately taken longer than that in this process, about as long as they did, and 2 s at most. While the tier is known to be in trouble, no call waits |
/// | `keep_warm = 100` | up to 10000: so many of the keys that this process uses most are loaded again before they expire (or before `refresh_ahead`), although nobody asks in that moment. Keys are kept from their second use on, with copies of their arguments, and no longer when nobody has used them since their last two renewals. Not for methods and functions that are generic or not async. Default: 0 |
/// | `jitter = 0.1` | shortens each ttl by a random share of up to this. Default: 0 |
/// | `tags = ["note:{note_id}"]` | up to 32 names under which the entry can be invalidated together with others: by `#[invalidates]`, or `Cache::invalidate_tag`. Placeholders are as in the prefix, and name what is part of the key. Default: none |
/// | `tags_from = \|v\| ..` | further tags, from the value, as a `Vec<Tag>`: `vec![tag!("author:{}", v.author)]`, whose parts are written as placeholders are. A value with a tag that cannot be written, such as one with a NaN, is not kept |
/// | `bound = "200ms"`, or seconds | how old the proof may be that a value in this process still holds; `0` asks the shared tier at every hit. Default: the cache's `staleness_bound` |
/// | `coalesce = local`, `cluster` | whether calls at one time share a load in this process only, or over all that have the shared tier. Default: `cluster` |
/// | `max_entries = 1000` | bounds the entries of this function in the process. Default: only the bytes of all are bounded |
/// | `cache = expr` | the cache: anything that dereferences to a `Cache`. Default: the process default |
/// | `companions = name` | for free functions: the name under which the companions stand, where that of the function is taken by a module, a type or a crate. Default: the name of the function |
/// | `handle = name` | for methods: generates a method of this name that returns a `Call`. Not in the `impl` of a trait: give the handle to an inherent method, and call that from the one of the trait |
/// | `detach = true`, `false` | whether a load runs in a task of its own, where `tokio::task_local!` values of the caller are not set and `spawn_local` panics; `false` keeps it in its caller. Default: if its arguments can be copied and its future is `Send` |
/// | `method` | says of a function without `self` that it stands in an `impl` |
/// | `crate = path` | where the runtime is re-exported. Default: `::cached_aside` |
///
/// An argument in a template is readable in the keys of the shared tier; `{hash(arg)}` shows a digest.
/// `-0.0` is the same argument as `0.0`. The keys of methods and of generic functions contain digests of type names: while two
/// builds that name a type differently run beside each other, the one does not find, and by key does not invalidate, what the
/// other has stored.
///
/// All calls that share an entry give it the same tags, so a tag names no argument that is skipped. Of an argument that
/// is in the key by one field, a tag may name others: the field says which one it is.
///
/// A free function gets companions under its own name: `f::invalidate`, `f::refresh`, `f::warm`, `f::peek`,
/// `f::with` and `f::key`. They stand on a type of that name. Where a module or a type has it (E0428, E0255), or where it hides a
/// crate that is used beside the function (E0223), `companions = f_cache` gives them another one: `f_cache::invalidate`, and
/// `#[invalidates(f_cache(..))]`.
///
/// # Other attributes
///
/// `#[cached]` is expanded last, wherever it stands among the attributes of the function. Every other one sees the function as
/// it is written, in its place, with its name and its `async`; what it puts around the body is around the load, once:
///
/// ```text
/// #[cached("account:{id}", ttl = "1m")]
/// #[tracing::instrument(err)] // a span `account` for each load, and none for a hit; above `#[cached]` it is the same
/// async fn account(id: u64) -> Result<Account, Error> { .. }
/// ```
///
/// `#[must_use]`, `#[deprecated]` and the documentation are about the function that callers see, and lint levels about both.
/// For a span around the whole call, hits included, make it where the function is called: `account(7).instrument(span).await`.
/// An attribute that does not hand on those below it loses `#[cached]` as well.
#[proc_macro_attribute]
pub fn cached(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::cached(options.into(), &item.into()).into()
}

/// Invalidates what the function has made outdated, when it has returned.
///
/// | target | what is outdated |
/// |---|---|
/// | `syllabus(exam)` | the entry of this call of a cached function. The arguments are expressions: what the body is to consume is cloned |
/// | `self.name_entry(id)` | that of a cached method, by its `handle` |
/// | `tags = ["note:{note_id}"]` | every entry with one of these tags. Placeholders name any argument of the function, and are as in `#[cached]` |
/// | `prefix = "analytics:{user_id}:"`, or a list | every entry whose name begins so. A `*` stands for anything. The shared tier looks through all of its keys for it, where a tag costs one round trip: prefer a tag |
/// | `clear` | every entry |
/// | `cache = expr` | where `tags`, `prefix` and `clear` look: anything that dereferences to a `Cache`. Default: the process default. A cached function knows its own |
/// | `crate = path` | where the runtime is re-exported. Default: `::cached_aside` |
///
/// It goes on an async function, or one that returns a boxed or an opaque future, such as under `#[async_trait]`.
///
/// # When
///
/// The keys are made of the arguments before the body runs, which may consume them. A key that cannot be made, as of a
/// NaN, was never cached, and is passed over.
///
/// * A `Result` that is `Ok`, and whatever is no `Result`: the function returns when all is invalidated, so the caller
///   reads what it wrote.
/// * An `Err`: nothing was written, and nothing is invalidated. If something may have been, invalidate it by hand.
/// * A panic, or a call that is dropped before its end: nobody knows whether it wrote, so all is invalidated, in the
///   background.
///
/// Trouble with the shared tier does not reach the caller: this process has forgotten the entries, and the others are told
/// as soon as they can be. Where the caller has to know, it awaits `syllabus::invalidate(exam)` itself.
///
/// Attributes stay as they are: those below this one, such as `#[instrument]`, see the invalidation as well as the body.
#[proc_macro_attribute]
pub fn invalidates(targets: TokenStream, item: TokenStream) -> TokenStream {
    invalidates::invalidates(targets.into(), &item.into()).into()
}
