//! Body that stays where it is, as a future.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::{
    Ident, Type,
    visit_mut::{self, VisitMut},
};

use crate::parse::function::{Function, Kind};

/// Generates the body as a future, which runs only when it is awaited. `return` and `?` leave the body, and
/// nothing around it.
pub(crate) fn in_place(
    krate: &TokenStream,
    function: &Function,
    bindings: &TokenStream,
    at: Span,
) -> TokenStream {
    let body = block(&function.body);
    match function.kind {
        Kind::Sync | Kind::Async => {
            let span = Span::mixed_site().located_at(function.value_span());
            let out = Ident::new("__cached_out", span);
            let output = nameable(&function.output);
            // This never runs. It determines the type of the body for `?` and `return`.
            let edge = quote_spanned! {span=>
                if false {
                    let #out: #output = #krate::__private::phantom_value();
                    return #out;
                }
            };
            quote_spanned!(at=> async move { #edge #bindings #body })
        }
        Kind::Boxed | Kind::Opaque => quote_spanned! {at=>
            async move {
                #bindings
                #body.await
            }
        },
    }
}

/// Returns the body of a function, in which these arguments count as used.
pub(super) fn mark_used<'a>(body: &Group, names: impl Iterator<Item = &'a Ident>) -> Group {
    let mut tokens = body.stream().into_iter().peekable();
    let mut attributes = TokenStream::new();
    // Inner attributes (`#![..]`) come first.
    while let Some(TokenTree::Punct(hash)) = tokens.peek()
        && hash.as_char() == '#'
    {
        let mut ahead = tokens.clone().skip(1);
        if !matches!(ahead.next(), Some(TokenTree::Punct(bang)) if bang.as_char() == '!') {
            break;
        }
        attributes.extend(tokens.by_ref().take(3));
    }
    let rest: TokenStream = tokens.collect();
    let mut group = Group::new(body.delimiter(), quote!(#attributes #(let _ = &#names;)* #rest));
    group.set_span(body.span());
    group
}

/// Returns the body as a block in an expression, with a span that keeps style lints from reporting its braces
/// to the user.
pub(super) fn block(body: &Group) -> Group {
    let mut block = Group::new(body.delimiter(), body.stream());
    block.set_span(Span::mixed_site().located_at(body.span()));
    block
}

/// Returns the type with `_` for each `impl Trait`, which has no name.
fn nameable(ty: &Type) -> Type {
    struct Nameable;

    impl VisitMut for Nameable {
        fn visit_type_mut(&mut self, ty: &mut Type) {
            if let Type::ImplTrait(_) = ty {
                *ty = syn::parse_quote!(_);
            } else {
                visit_mut::visit_type_mut(self, ty);
            }
        }
    }

    let mut ty = ty.clone();
    Nameable.visit_type_mut(&mut ty);
    ty
}
