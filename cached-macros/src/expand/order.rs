//! Order in which attributes are expanded: `#[cached]` is the last one.
//!
//! An attribute macro gets the function with all attributes that are not expanded yet. If some of these are
//! below `#[cached]`, it moves itself behind them and is expanded once more. So each of them sees the
//! function as it is written, with its name, its signature and its `async`. None of them is applied to
//! generated code.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::quote;
use syn::Attribute;

use crate::expand::local;

/// First token of the options once all other attributes have been expanded.
const LAST: &str = "__cached_last";

/// Attributes that are no macros. They change nothing, and keep their place.
const PLAIN: &[&str] = &[
    "doc",
    "must_use",
    "deprecated",
    "allow",
    "warn",
    "deny",
    "forbid",
    "expect",
    "inline",
    "cold",
    "track_caller",
    "rustfmt",
    "clippy",
    "diagnostic",
];

/// Removes the token `LAST` from the options, and returns whether it was there.
pub(crate) fn is_last(options: TokenStream) -> (bool, TokenStream) {
    let mut tokens = options.clone().into_iter();
    match tokens.next() {
        Some(TokenTree::Ident(first)) if first == LAST => (true, tokens.skip(1).collect()),
        _ => (false, options),
    }
}

/// Returns whether one of the attributes may have to be expanded first: a macro, or a `cfg`.
pub(crate) fn may_need_expansion(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let first = attribute.path().segments.first();
        !first.is_some_and(|first| PLAIN.iter().any(|plain| first.ident == plain))
    })
}

/// Unwraps a function that comes in a group without delimiters, because a macro received it as a whole.
fn ungrouped(item: TokenStream) -> TokenStream {
    let mut tokens = item.clone().into_iter();
    match (tokens.next(), tokens.next()) {
        (Some(TokenTree::Group(group)), None) if group.delimiter() == Delimiter::None => {
            ungrouped(group.stream())
        }
        _ => item,
    }
}

/// Returns another `#[cached]` below this one.
pub(crate) fn second_cached(attributes: &[Attribute]) -> Option<&Attribute> {
    let is_cached =
        |attribute: &&Attribute| attribute.path().segments.last().is_some_and(|last| last.ident == "cached");
    attributes.iter().find(is_cached)
}

/// Emits the function again, with `#[cached]` behind all other attributes.
pub(crate) fn move_last(krate: &TokenStream, options: &TokenStream, item: &TokenStream) -> TokenStream {
    let mut attributes = TokenStream::new();
    let mut tokens = ungrouped(item.clone()).into_iter().peekable();
    while let Some(TokenTree::Punct(_)) = tokens.peek() {
        // `#`, and the group in brackets.
        let attribute: TokenStream = tokens.by_ref().take(2).collect();
        attributes.extend(attribute);
    }
    let rest: TokenStream = tokens.collect();
    let last = local(LAST);
    quote!(#attributes #[#krate::cached(#last, #options)] #rest)
}
