//! The attributes of cached-aside. Depend on `cached-aside`, not on this crate.
//!
//! Tokens become `options` and a `function`, which `check` holds against each other; only what passes is expanded. On any error the function is emitted as it was, so that the errors are the only ones.

mod check;
mod errors;
mod expand;
mod function;
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
/// | `cache_none` | keeps a `None` as well |
/// | `cache_err = "5s" if \|e\| ..` | which errors are kept, in this process, and for how long. Default: none |
/// | `jitter = 0.1` | shortens each ttl by a random share of up to this. Default: 0 |
/// | `max_entries = 1000` | bounds the entries of this function in the process. Default: only the bytes of all are bounded |
/// | `cache = expr` | the cache: anything that dereferences to a `Cache`. Default: the process default |
/// | `handle = name` | for methods: generates a method of this name that returns a `Call` |
/// | `detach = true`, `false` | whether a load runs in a task of its own. Default: if its arguments can be copied and its future is `Send` |
/// | `method` | says of a function without `self` that it stands in an `impl` |
/// | `crate = path` | where the runtime is re-exported. Default: `::cached_aside` |
///
/// A free function gets companions under its own name: `f::invalidate`, `f::refresh`, `f::peek`, `f::with` and `f::key`.
///
/// Attributes above `#[cached]` see the whole call; those below it, such as `#[instrument]`, see the load.
#[proc_macro_attribute]
pub fn cached(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::cached(options.into(), &item.into()).into()
}
