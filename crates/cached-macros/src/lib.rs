//! The attributes of cached-aside. Depend on `cached-aside`, not on this crate.
//!
//! Tokens become `options` and a `function`, which `check` holds against each other; only what passes is expanded. On any
//! error the function is emitted as it was, so that the errors are the only ones. `#[invalidates]` has a folder of its
//! own, and the same steps.

mod check;
mod errors;
mod expand;
mod function;
mod holder;
mod invalidates;
mod options;
mod template;
mod value;

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
/// | `local` | this process only: no serde bounds, and the only mode of functions that are not async. A value that is not `Serialize` counts with its own size only, without what it holds on the heap |
/// | `cache_if = \|v\| ..` | which values are kept. Default: all but the `None` of an `Option` |
/// | `ttl_from = \|v\| ..` | the ttl, from the value; zero keeps nothing |
/// | `cache_none`, or `cache_none = "10s"` | keeps a `None` as well, as long as a value or for this long |
/// | `cache_err = "5s" if \|e\| ..` | which errors are kept, in this process, and for how long. Default: none |
/// | `stale = "10m"`, seconds, or a `Duration` expression | how long after its ttl a value may still be served: while it is loaded again, and when that fails. A load that failed is tried again after a tenth of this (1 s to 30 s). Default: not at all |
/// | `soft_timeout = "200ms"` | how long a caller waits for a fresh value before it takes a stale one: for a load, for a place under `max_loads`, or for another process. Only a load that runs in its caller (see `detach`) is not left once it has begun. By the clock of the cache. Default: not at all, where the load has a task of its own |
/// | `refresh_ahead = 0.8` | a hit after this part of the ttl begins to load the value again, beside the caller. Default: not before the ttl is over |
/// | `load_timeout = "30s"` | a load that takes longer is dropped, and ends in an error of the function, which implements `From<LoadTimeout>`. Waiting is no part of that time, and is bounded as well: a call waits for a place (`max_loads`) for as long again and then gets the error, for another process for as long again and then loads itself, and for a load that another call has begun for twice this and then gets the error. By the clock of the cache. Default: none; then a call waits for another process for 5 min |
/// | `max_loads = 8` | how many loads of this function go on at a time in the process; others wait, and leave their keys to other processes until their turn has come. Loads inside of loads do not count. Default: as many as there are |
/// | `tier_timeout = "500ms"` | how long a caller waits for each answer of the shared tier before it goes on without: there are one or two before a load. A value that was loaded is given at least as long to be stored. Default: the tier's own (50 ms for Redis) or, where loads of the function have lately taken longer than that in this process, about as long as they did, and 2 s at most. While the tier is known to be in trouble, no call waits |
/// | `keep_warm = 100` | up to 10000: so many of the keys that this process uses most are loaded again before they expire (or before `refresh_ahead`), although nobody asks in that moment. Keys are kept from their second use on, with copies of their arguments, and no longer when nobody has used them since their last two renewals. Not for methods and functions that are generic or not async. Default: 0 |
/// | `jitter = 0.1` | shortens each ttl by a random share of up to this. Default: 0 |
/// | `tags = ["note:{note_id}"]` | up to 32 names under which the entry can be invalidated together with others: by `#[invalidates]`, or `Cache::invalidate_tag`. Placeholders are as in the prefix, and name what is part of the key. Default: none |
/// | `tags_from = \|v\| ..` | further tags, from the value, as a `Vec<String>`, as they are: make them of numbers, or of ASCII letters, digits and `-_.@`, because everything else that an argument brings into a template is escaped there |
/// | `bound = "200ms"`, or seconds | how old the proof may be that a value in this process still holds; `0` asks the shared tier at every hit. Default: the cache's `staleness_bound` |
/// | `coalesce = local`, `cluster` | whether calls at one time share a load in this process only, or over all that have the shared tier. Default: `cluster` |
/// | `max_entries = 1000` | bounds the entries of this function in the process. Default: only the bytes of all are bounded |
/// | `cache = expr` | the cache: anything that dereferences to a `Cache`. Default: the process default |
/// | `handle = name` | for methods: generates a method of this name that returns a `Call` |
/// | `detach = true`, `false` | whether a load runs in a task of its own. Default: if its arguments can be copied and its future is `Send` |
/// | `method` | says of a function without `self` that it stands in an `impl` |
/// | `crate = path` | where the runtime is re-exported. Default: `::cached_aside` |
///
/// All calls that share an entry give it the same tags, so a tag names no argument that is skipped. Of an argument that
/// is in the key by one field, a tag may name others: the field says which one it is.
///
/// A free function gets companions under its own name: `f::invalidate`, `f::refresh`, `f::warm`, `f::peek`,
/// `f::with` and `f::key`.
///
/// Attributes above `#[cached]` see the whole call; those below it, such as `#[instrument]`, see the load.
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
/// | `prefix = "analytics:{user_id}:"`, or a list | every entry of the shared tier whose name begins so. A `*` stands for anything. The tier looks through all of its keys for it, where a tag costs nothing |
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
