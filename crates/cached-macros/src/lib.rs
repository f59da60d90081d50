//! The attributes of cached-aside. Depend on `cached-aside`, not on this crate.
//!
//! Tokens become [`options`] and a [`function`], which [`check`] holds against each other; only what passes is
//! [expanded](expand). On any error the function is emitted as it was, so that the errors are the only ones.

mod check;
mod errors;
mod expand;
mod function;
mod options;
mod template;
mod value;

use proc_macro::TokenStream;

/// Caches what the function returns. See the crate `cached-aside` for the grammar.
#[proc_macro_attribute]
pub fn cached(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::cached(options.into(), &item.into()).into()
}
