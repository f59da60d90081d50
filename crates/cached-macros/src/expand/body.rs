//! A body that stays where it is, as a future.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::{
    Ident, Type,
    visit_mut::{self, VisitMut},
};

use crate::function::{Function, Kind};

/// The body, which only runs when this is awaited. `return` and `?` leave it, and go no further.
pub(crate) fn in_place(function: &Function, bindings: &TokenStream, at: Span) -> TokenStream {
    let body = &function.body;
    match function.kind {
        Kind::Sync | Kind::Async => {
            let span = Span::mixed_site().located_at(function.value_span());
            let out = Ident::new("__cached_out", span);
            let output = nameable(&function.output);
            // Never run: it tells `?` and `return` what the body's type is.
            let edge = quote_spanned! {span=>
                #[allow(unknown_lints, unreachable_code, deprecated, clippy::diverging_sub_expression,
                    clippy::empty_loop, clippy::let_unit_value, clippy::let_with_type_underscore,
                    clippy::needless_return, clippy::unreachable, clippy::items_after_statements,
                    clippy::type_complexity)]
                if false {
                    let #out: #output = loop {};
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

/// The type with `_` for what has no name.
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
