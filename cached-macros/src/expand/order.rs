//! The order in which attributes are expanded: `#[cached]` is the last one.
//!
//! An attribute macro gets the function with all attributes that are not expanded yet. Where some of these stand below
//! `#[cached]`, it takes its place behind them and is expanded once more. So each of them sees the function as it is
//! written, with its name, its signature and its `async`, and none has to stand on something that was generated.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::quote;
use syn::Attribute;

use crate::expand::local;

/// The first token of the options where all other attributes have been expanded.
const LAST: &str = "__cached_last";

/// Attributes that are no macros: they change nothing, and stand where they are to the end.
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

/// Takes the sign off the options. Returns whether it was there.
pub(crate) fn is_last(options: TokenStream) -> (bool, TokenStream) {
    let mut tokens = options.clone().into_iter();
    match tokens.next() {
        Some(TokenTree::Ident(first)) if first == LAST => (true, tokens.skip(1).collect()),
        _ => (false, options),
    }
}

/// Whether one of them may have something to say before us: a macro, or a `cfg`.
pub(crate) fn are_open(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let first = attribute.path().segments.first();
        !first.is_some_and(|first| PLAIN.iter().any(|plain| first.ident == plain))
    })
}

/// A function that a macro was given as a whole comes in a group without delimiters.
fn opened(item: TokenStream) -> TokenStream {
    let mut tokens = item.clone().into_iter();
    match (tokens.next(), tokens.next()) {
        (Some(TokenTree::Group(group)), None) if group.delimiter() == Delimiter::None => {
            opened(group.stream())
        }
        _ => item,
    }
}

/// `#[cached]`, if it is below another one.
pub(crate) fn second(attributes: &[Attribute]) -> Option<&Attribute> {
    let is_cached =
        |attribute: &&Attribute| attribute.path().segments.last().is_some_and(|last| last.ident == "cached");
    attributes.iter().find(is_cached)
}

/// The function again, with `#[cached]` behind all other attributes.
pub(crate) fn put_last(krate: &TokenStream, options: &TokenStream, item: &TokenStream) -> TokenStream {
    let mut attributes = TokenStream::new();
    let mut tokens = opened(item.clone()).into_iter().peekable();
    while let Some(TokenTree::Punct(_)) = tokens.peek() {
        // `#` and what is between the brackets.
        let attribute: TokenStream = tokens.by_ref().take(2).collect();
        attributes.extend(attribute);
    }
    let rest: TokenStream = tokens.collect();
    let last = local(LAST);
    quote!(#attributes #[#krate::cached(#last, #options)] #rest)
}
