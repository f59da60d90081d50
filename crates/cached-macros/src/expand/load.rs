//! How the body becomes a load: in a task of its own where nothing is borrowed, in the caller otherwise.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{GenericParam, Ident, Type, TypeReference};

use super::{Input, local};
use crate::function::{Argument, Kind, Mentions};

/// The `Load` of a call.
pub(super) fn load(input: &Input) -> TokenStream {
    let krate = &input.krate;
    let detach = input.options.detach.as_ref().map(|detach| (detach.value, detach.span()));
    if input.is_method() {
        let body = method_body(input);
        return match detach {
            Some((true, span)) => quote_spanned!(span=> #krate::__private::detached(#body)),
            _ => quote!(#krate::__private::Load::Inline(#body)),
        };
    }
    let holders = holders(input);
    match (detach, holders) {
        (None | Some((true, _)), Some(holders)) if !input.is_recursive(detach) => {
            place(input, &holders, detach)
        }
        (Some((true, span)), _) => {
            let body = free_body(input);
            quote_spanned!(span=> #krate::__private::detached(#body))
        }
        _ => {
            let body = free_body(input);
            quote!(#krate::__private::Load::Inline(#body))
        }
    }
}

impl Input {
    /// A function that calls itself cannot be asked whether its future may move to another thread: the answer depends
    /// on itself. `detach = true` insists.
    fn is_recursive(&self, detach: Option<(bool, Span)>) -> bool {
        detach.is_none() && self.function.seems_recursive()
    }
}

/// The body of a free function, which is a function of its own.
fn free_body(input: &Input) -> TokenStream {
    let names = input.argument_names();
    let turbofish = input.turbofish();
    let awaiting = (input.function.kind != Kind::Sync).then(|| quote!(.await));
    quote!(async move { Self::__cached_body #turbofish(#(#names),*) #awaiting })
}

/// The body of a method, in place. A pattern is bound inside, as it would be in the function.
fn method_body(input: &Input) -> TokenStream {
    let output = &input.function.output;
    let body = &input.function.body;
    let bindings = input.function.arguments.iter().filter_map(|argument| {
        let Argument { name, pattern, .. } = argument;
        let is_same = *name == pattern.to_token_stream().to_string();
        (!is_same).then(|| quote!(let #pattern = #name;))
    });
    match input.function.kind {
        Kind::Sync | Kind::Async => {
            let out = local("__cached_out");
            // Never run: it tells `?` and `return` what the body's type is.
            let edge = quote_spanned! {input.function.output_span()=>
                #[allow(unknown_lints, unreachable_code, clippy::diverging_sub_expression, clippy::empty_loop,
                    clippy::let_unit_value, clippy::let_with_type_underscore, clippy::needless_return,
                    clippy::unreachable, clippy::items_after_statements)]
                if false {
                    let #out: #output = loop {};
                    return #out;
                }
            };
            quote!(async move { #edge #(#bindings)* #body })
        }
        Kind::Boxed | Kind::Opaque => quote! {
            async move {
                #(#bindings)*
                #body.await
            }
        },
    }
}

/// How each argument of a free function gets into a task of its own; `None` if one of them cannot.
pub(super) enum Holder<'a> {
    Owned(&'a Argument),
    Reference(&'a Argument, &'a TypeReference),
    OptionalReference(&'a Argument, TypeReference),
}

pub(super) fn holders(input: &Input) -> Option<Vec<Holder<'_>>> {
    let has_types =
        input.function.sig.generics.params.iter().any(|param| !matches!(param, GenericParam::Lifetime(_)));
    if has_types || input.function.kind == Kind::Sync {
        return None;
    }
    input.function.arguments.iter().map(holder).collect()
}

fn holder(argument: &Argument) -> Option<Holder<'_>> {
    let is_free = |ty: &Type| {
        let mentions = Mentions::of(ty);
        // `Cow` may hide its lifetime, and a trait object may hide anything.
        mentions.borrow.is_none() && mentions.opaque.is_none() && !mentions.ident("Cow")
    };
    let is_shared = |reference: &TypeReference| reference.mutability.is_none() && is_free(&reference.elem);
    match &argument.ty {
        Type::Reference(reference) => is_shared(reference).then_some(Holder::Reference(argument, reference)),
        ty => match optional_reference(ty) {
            Some(reference) => {
                is_shared(&reference).then_some(Holder::OptionalReference(argument, reference))
            }
            None => is_free(ty).then_some(Holder::Owned(argument)),
        },
    }
}

/// `&T` of `Option<&T>`.
fn optional_reference(ty: &Type) -> Option<TypeReference> {
    match crate::function::only_argument(ty, "Option")? {
        Type::Reference(reference) => Some(reference),
        _ => None,
    }
}

/// The library finds out whether the copies can be made and may move to another thread.
fn place(input: &Input, holders: &[Holder<'_>], detach: Option<(bool, Span)>) -> TokenStream {
    let krate = &input.krate;
    let mut bindings = TokenStream::new();
    let mut marks = quote!(());
    for holder in holders.iter().rev() {
        let (wrap, name) = match holder {
            Holder::Owned(_) => continue,
            Holder::Reference(argument, _) => (quote!(Arg), &argument.name),
            Holder::OptionalReference(argument, _) => (quote!(OptionArg), &argument.name),
        };
        bindings.extend(quote!(let #name = #krate::__private::#wrap(#name).hold();));
        marks = quote!((#name.mark(), #marks));
    }
    let marked = local("__cached_marks");
    let names = input.argument_names();
    let load = quote!(Self::__cached_held(#(#names),*));
    let method = match detach {
        Some((_, span)) => Ident::new("place_or_refuse", span),
        None => Ident::new("place", Span::mixed_site()),
    };
    quote! {
        {
            #[allow(unused_imports)]
            use #krate::__private::{Inline as _, LendArg as _, LendOption as _};
            #bindings
            let #marked = #marks;
            #krate::__private::Place(#load, #marked).#method()
        }
    }
}

/// The body with holders in the place of references. It is a function of its own, so that its type can be examined.
pub(super) fn held_body(input: &Input) -> TokenStream {
    let Some(holders) = holders(input) else { return TokenStream::new() };
    let krate = &input.krate;
    let output = &input.function.output;
    let (mut generics, mut params, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (index, holder) in holders.iter().enumerate() {
        let param: Ident = format_ident!("__CachedHolder{index}");
        match holder {
            Holder::Owned(argument) => {
                let Argument { name, ty, .. } = argument;
                params.push(quote!(#name: #ty));
                values.push(quote!(#name));
            }
            Holder::Reference(argument, reference) => {
                let (name, elem) = (&argument.name, &reference.elem);
                generics.push(quote!(#param: #krate::__private::Hold<#elem>));
                params.push(quote!(#name: #param));
                values.push(quote!(#name.lend()));
            }
            Holder::OptionalReference(argument, reference) => {
                let (name, elem) = (&argument.name, &reference.elem);
                generics.push(quote!(#param: #krate::__private::HoldOption<#elem>));
                params.push(quote!(#name: #param));
                values.push(quote!(#name.lend()));
            }
        }
    }
    quote! {
        async fn __cached_held<#(#generics),*>(#(#params),*) -> #output {
            Self::__cached_body(#(#values),*).await
        }
    }
}
