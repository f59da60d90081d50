//! Generated code that turns the body into a load: in a task of its own if nothing is borrowed, in the caller
//! otherwise.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{GenericParam, Ident, Lifetime, TypeReference};

use super::{Input, body, local};
use crate::{
    check::ownership::{Holder, holder},
    parse::{
        function::{Argument, Function, Kind},
        options::KeepWarm,
    },
};

/// Generates the body of a function that is not async, as a closure.
pub(super) fn sync_body(input: &Input) -> TokenStream {
    let names = input.argument_names();
    let turbofish = input.turbofish();
    if !input.is_method() {
        return quote!(move || Self::__cached_body #turbofish(#(#names),*));
    }
    let output = &input.function.output;
    let (bindings, body) = (bindings(input), body::block(&input.function.body));
    if bindings.is_empty() {
        quote!(move || -> #output #body)
    } else {
        quote!(move || -> #output { #bindings #body })
    }
}

/// Generates the closure that makes the `Load` of a call if there is no value.
pub(super) fn load(input: &Input) -> TokenStream {
    let krate = &input.krate;
    let names = input.argument_names();
    let body = |at| if input.is_method() { method_body(input, at) } else { free_body(input, at) };
    let inline = || {
        let body = body(Span::mixed_site());
        quote!(#krate::__private::Load::Inline(#krate::__private::Box::pin(#body)))
    };
    let load = match (input.detach(), holders(input)) {
        (Detach::Never, _) | (Detach::IfPossible, None) => inline(),
        (Detach::IfPossible, Some(_)) => {
            let inline = inline();
            let load = local("__cached_load");
            quote! {
                match Self::__cached_detached(#(#names),*) {
                    #krate::__private::Result::Ok(#load) => #load.load(),
                    #krate::__private::Result::Err((#(#names,)*)) => #inline,
                }
            }
        }
        (Detach::Always(_), Some(_)) => quote!(Self::__cached_detached(#(#names),*).only()),
        (Detach::Always(at), None) => {
            let body = body(at);
            quote_spanned!(at=> #krate::__private::detached(#body).only())
        }
    };
    quote!(move || #load)
}

enum Detach {
    Never,
    IfPossible,
    /// Span of the option that asks for a task.
    Always(Span),
}

impl Input {
    fn detach(&self) -> Detach {
        match &self.options.detach {
            None => match &self.options.keep_warm {
                Some(keep_warm) => Detach::Always(keep_warm.name.span()),
                None => Detach::IfPossible,
            },
            Some(detach) if detach.value => Detach::Always(detach.span()),
            Some(_) => Detach::Never,
        }
    }
}

/// Generates the call of a free function's body, which is a function of its own.
fn free_body(input: &Input, at: Span) -> TokenStream {
    let names = input.argument_names();
    let turbofish = input.turbofish();
    quote_spanned!(at=> async move { Self::__cached_body #turbofish(#(#names),*).await })
}

/// Generates the body of a method, in place.
fn method_body(input: &Input, at: Span) -> TokenStream {
    body::in_place(&input.krate, &input.function, &bindings(input), at)
}

/// Generates the bindings of patterns, which belong inside the body as they do in the user's function.
fn bindings(input: &Input) -> TokenStream {
    let bindings = input.function.arguments.iter().filter_map(|argument| {
        let Argument { name, pattern, .. } = argument;
        let is_same = *name == pattern.to_token_stream().to_string();
        (!is_same).then(|| quote!(let #pattern = #name;))
    });
    bindings.collect()
}

/// Returns the holders of all arguments; `None` if one of them cannot leave the call.
fn holders(input: &Input) -> Option<Vec<Holder<'_>>> {
    let Function { sig, kind, arguments, .. } = &input.function;
    let is_generic = sig.generics.params.iter().any(|param| !matches!(param, GenericParam::Lifetime(_)));
    if input.is_method() || is_generic || *kind == Kind::Sync {
        return None;
    }
    arguments.iter().map(holder).collect()
}

/// Generates the functions beside the body that a load in a task of its own needs.
pub(super) fn helpers(input: &Input) -> TokenStream {
    match (input.detach(), holders(input)) {
        (Detach::Never, _) | (_, None) => TokenStream::new(),
        (detach, Some(holders)) => {
            let (held, detached) = (body_with_holders(input, &holders), detached(input, &holders, &detach));
            let recipe = input.options.keep_warm.as_ref().map(|keep_warm| recipe(input, &holders, keep_warm));
            quote!(#held #detached #recipe)
        }
    }
}

/// Generates the body with holders in place of references. It is a function of its own, so that its type can
/// be examined.
fn body_with_holders(input: &Input, holders: &[Holder<'_>]) -> TokenStream {
    let krate = &input.krate;
    let output = &input.function.output;
    let (mut generics, mut params, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (index, holder) in holders.iter().enumerate() {
        let param: Ident = format_ident!("__CachedHolder{index}");
        let (argument, hold, elem) = match holder {
            Holder::Owned(argument) => {
                let Argument { name, ty, .. } = argument;
                params.push(quote!(#name: #ty));
                values.push(quote!(#name));
                continue;
            }
            Holder::Reference(argument, reference) => (argument, quote!(Hold), &reference.elem),
            Holder::OptionalReference(argument, reference) => (argument, quote!(HoldOption), &reference.elem),
        };
        let name = &argument.name;
        generics.push(quote!(#param: #krate::__private::#hold<#elem>));
        params.push(quote!(#name: #param));
        values.push(quote!(#krate::__private::#hold::<#elem>::lend(&#name)));
    }
    quote! {
        async fn __cached_held<#(#generics),*>(#(#params),*) -> #output {
            Self::__cached_body(#(#values),*).await
        }
    }
}

/// Generates the function that makes a load in a task of its own, or returns the arguments if there can be
/// none. The runtime decides by type whether the arguments can be copied, and can move to another thread.
fn detached(input: &Input, holders: &[Holder<'_>], detach: &Detach) -> TokenStream {
    let krate = &input.krate;
    let output = &input.function.output;
    let names = input.argument_names();
    let Copies { lifetimes, types, bindings, marks } = copies(krate, holders);
    let (traits, returns, body) = match detach {
        Detach::Always(at) => {
            let held = quote_spanned!(*at=> Self::__cached_held(#(#names),*));
            let detached = quote_spanned!(*at=> #krate::__private::detached(#held));
            (
                quote!(RefuseArg as _),
                quote!(#krate::__private::Detached<#output>),
                quote!(#bindings #detached),
            )
        }
        Detach::IfPossible | Detach::Never => (
            quote!(Inline as _, LendArg as _),
            quote!(#krate::__private::Result<#krate::__private::Detached<#output>, (#(#types,)*)>),
            quote! {
                #krate::__private::place((#(#names,)*), |(#(#names,)*)| {
                    #bindings
                    let __cached_marks = #marks;
                    (Self::__cached_held(#(#names),*), __cached_marks)
                }).__cached_place()
            },
        ),
    };
    quote! {
        fn __cached_detached<#(#lifetimes),*>(#(#names: #types),*) -> #returns {
            use #krate::__private::{#traits};
            #body
        }
    }
}

/// Code that moves arguments into a task, where references are copied.
struct Copies {
    lifetimes: Vec<Lifetime>,
    types: Vec<TokenStream>,
    bindings: TokenStream,
    marks: TokenStream,
}

fn copies(krate: &TokenStream, holders: &[Holder<'_>]) -> Copies {
    let (mut lifetimes, mut types) = (Vec::new(), Vec::new());
    let (mut bindings, mut marks) = (TokenStream::new(), quote!(()));
    for (index, holder) in holders.iter().enumerate() {
        let lifetime = Lifetime::new(&format!("'__cached_{index}"), Span::mixed_site());
        let (argument, wrap) = match holder {
            Holder::Owned(argument) => {
                types.push(argument.ty.to_token_stream());
                continue;
            }
            Holder::Reference(argument, TypeReference { elem, .. }) => {
                types.push(quote!(&#lifetime #elem));
                (argument, "Arg")
            }
            Holder::OptionalReference(argument, TypeReference { elem, .. }) => {
                types.push(quote!(#krate::__private::Option<&#lifetime #elem>));
                (argument, "OptionArg")
            }
        };
        lifetimes.push(lifetime);
        let name = &argument.name;
        let at = Span::mixed_site().located_at(name.span());
        let wrap = Ident::new(wrap, at);
        bindings.extend(quote_spanned!(at=> let #name = #krate::__private::#wrap(#name).__cached_hold();));
        marks = quote!((#krate::__private::ownership_mark(&#name), #marks));
    }
    Copies { lifetimes, types, bindings, marks }
}

/// Generates the recipe that loads the value for these arguments again and again, from copies of them.
fn recipe(input: &Input, holders: &[Holder<'_>], keep_warm: &KeepWarm) -> TokenStream {
    let krate = &input.krate;
    let output = &input.function.output;
    let names = input.argument_names();
    let Copies { mut lifetimes, mut types, bindings, .. } = copies(krate, holders);
    for (index, (holder, ty)) in holders.iter().zip(&mut types).enumerate() {
        // The recipe borrows the arguments that the function owns, because a load of this call may need them.
        if let Holder::Owned(_) = holder {
            let lifetime = Lifetime::new(&format!("'__cached_{index}"), Span::mixed_site());
            *ty = quote!(&#lifetime #ty);
            lifetimes.push(lifetime);
        }
    }
    let kept_arguments = names.iter().map(|name| {
        let at = Span::mixed_site().located_at(name.span());
        quote_spanned!(at=> let #name = #krate::__private::KeepArg(#name).__cached_keep();)
    });
    let provided_arguments = names.iter().map(|name| quote!(#krate::__private::Again::again(&#name)?));
    let at = keep_warm.name.span();
    let held = quote_spanned!(at=> Self::__cached_held(#(#provided_arguments),*));
    quote! {
        fn __cached_recipe<#(#lifetimes),*>(#(#names: #types),*) -> #krate::__private::Recipe<#output> {
            use #krate::__private::{KeepCopy as _, RefuseArg as _, RefuseKeep as _};
            #bindings
            #(#kept_arguments)*
            #krate::__private::Recipe::new(move || #krate::__private::Option::Some(#held))
        }
    }
}

/// Generates the call that passes the arguments to the recipe, if the function has `keep_warm`.
pub(super) fn recipe_call(input: &Input) -> TokenStream {
    let (Some(_), Some(holders)) = (&input.options.keep_warm, holders(input)) else {
        return TokenStream::new();
    };
    let arguments = holders.iter().map(|holder| match holder {
        Holder::Owned(Argument { name, .. }) => quote!(&#name),
        Holder::Reference(Argument { name, .. }, _) | Holder::OptionalReference(Argument { name, .. }, _) => {
            quote!(#name)
        }
    });
    quote!(.recipe(|| Self::__cached_recipe(#(#arguments),*)))
}
