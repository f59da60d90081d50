//! Attributes like those that users put beside `#[cached]`.
//!
//! `#[framed]` requires an `async fn`, and wraps its body. `#[checked]` adds an item beside the function, and
//! names the function in it.

use proc_macro::TokenStream;
use proc_macro2::{Delimiter, Group, Ident, TokenStream as Tokens, TokenTree};
use quote::quote;

/// Wraps the body of an `async fn`, like `#[async_backtrace::framed]`.
///
/// The wrapper calls `crate::framed("name")` before the body.
#[proc_macro_attribute]
pub fn framed(_: TokenStream, item: TokenStream) -> TokenStream {
    let item = Tokens::from(item);
    let Some(name) = name(&item).filter(|_| is_async(&item)) else {
        return quote!(::core::compile_error! { "`#[framed]` goes on an async function" }).into();
    };
    let name = name.to_string();
    around(item, |body| quote!({ crate::framed(#name); async move #body.await })).into()
}

/// Adds an item that must compile beside the function, like `#[axum::debug_handler]`.
///
/// The function itself stays as it is.
#[proc_macro_attribute]
pub fn checked(_: TokenStream, item: TokenStream) -> TokenStream {
    let item = Tokens::from(item);
    let Some(name) = name(&item).filter(|_| is_async(&item)) else {
        return quote!(::core::compile_error! { "`#[checked]` goes on an async function" }).into();
    };
    quote!(#item const _: () = { let _ = #name; };).into()
}

/// Returns whether `async` precedes `fn`.
fn is_async(item: &Tokens) -> bool {
    let words = item.clone().into_iter().take_while(|token| !is(token, "fn"));
    words.into_iter().any(|token| is(&token, "async"))
}

/// Returns the name after `fn`.
fn name(item: &Tokens) -> Option<Ident> {
    match item.clone().into_iter().skip_while(|token| !is(token, "fn")).nth(1)? {
        TokenTree::Ident(name) => Some(name),
        _ => None,
    }
}

fn is(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

/// Returns the function with another body.
fn around(item: Tokens, make: impl FnOnce(&Group) -> Tokens) -> Tokens {
    let mut tokens: Vec<_> = item.into_iter().collect();
    match tokens.pop() {
        Some(TokenTree::Group(body)) if body.delimiter() == Delimiter::Brace => {
            tokens.extend(make(&body));
        }
        other => tokens.extend(other),
    }
    tokens.into_iter().collect()
}
