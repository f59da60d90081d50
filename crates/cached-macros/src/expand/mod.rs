//! From the model to tokens. What is generated is thin: it writes the key, wraps the body, and calls the runtime.

mod companions;
mod key;
mod load;
mod shape;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{FnArg, GenericParam, Result, Signature, ext::IdentExt, parse2};

use crate::{
    check::{self, Key},
    errors::Errors,
    function::{Function, Kind},
    options::Options,
    template::Template,
};

/// All that the parts of an expansion need.
struct Input {
    options: Options,
    function: Function,
    template: Option<Template>,
    key: Key,
    krate: TokenStream,
}

pub(crate) fn cached(options: TokenStream, item: &TokenStream) -> TokenStream {
    expand(options, item.clone()).unwrap_or_else(|error| {
        let error = error.into_compile_error();
        quote!(#error #item)
    })
}

fn expand(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut errors = Errors::default();
    let options = Options::parse(options, &mut errors);
    let Some(function) = errors.take(parse2::<Function>(item)) else {
        return errors.finish().map(|()| TokenStream::new());
    };
    let (template, key) = check::check(&options, &function, &mut errors);
    errors.finish()?;
    let krate = match &options.krate {
        Some(path) => quote!(#path),
        None => quote!(::cached_aside),
    };
    let input = Input { options, function, template, key, krate };
    Ok(if input.is_method() { method(&input) } else { companions::free_function(&input) })
}

impl Input {
    fn is_method(&self) -> bool {
        self.function.names_self() || self.options.method.is_some()
    }

    /// `::<T, N>`, so that parameters which no argument determines reach the generated functions.
    fn turbofish(&self) -> TokenStream {
        let names: Vec<_> = self
            .function
            .sig
            .generics
            .params
            .iter()
            .filter_map(|param| match param {
                GenericParam::Type(param) => Some(&param.ident),
                GenericParam::Const(param) => Some(&param.ident),
                GenericParam::Lifetime(_) => None,
            })
            .collect();
        if names.is_empty() { TokenStream::new() } else { quote!(::<#(#names),*>) }
    }

    fn argument_names(&self) -> Vec<&Ident> {
        self.function.arguments.iter().map(|argument| &argument.name).collect()
    }

    /// The user's signature with plain names for patterns, as callers see it.
    fn outer_signature(&self) -> Signature {
        let mut sig = self.function.sig.clone();
        for (input, argument) in typed(&mut sig).zip(&self.function.arguments) {
            let name = &argument.name;
            *input.pat = syn::parse_quote!(#name);
        }
        sig
    }

    /// A generated function with the user's arguments, and some before them.
    fn signature(&self, name: &Ident, first: &TokenStream, output: &TokenStream) -> Signature {
        let mut sig = self.outer_signature();
        sig.asyncness = None;
        sig.ident = name.clone();
        if !first.is_empty() {
            let at = usize::from(self.function.has_self());
            sig.inputs.insert(at, syn::parse_quote!(#first));
        }
        sig.output = syn::parse_quote!(-> #output);
        sig
    }

    /// `Call<R, impl Future>`, or its blocking twin.
    fn call_type(&self) -> TokenStream {
        let krate = &self.krate;
        let output = &self.function.output;
        let name = if self.function.kind == Kind::Sync { quote!(SyncCall) } else { quote!(Call) };
        // `impl` captures the lifetimes of the arguments, as the edition of this crate has it.
        let span = Span::mixed_site();
        quote_spanned!(span=> #krate::__private::#name<#output, impl #krate::__private::Future<Output = #output>>)
    }

    /// A call with its arguments: the key is written, and L1 was asked if `intent` is a plain call.
    fn call(&self, intent: &TokenStream) -> TokenStream {
        let krate = &self.krate;
        let site = key::site(self);
        let cache = self.cache();
        let (bindings, write) = key::writer(self);
        let plan = shape::plan(self);
        let load = load::load(self);
        let wrap = (self.function.kind == Kind::Sync).then(|| quote!(#krate::__private::SyncCall::new));
        let (cache_ref, started) = (local("__cached_cache"), local("__cached_started"));
        quote! {
            {
                static __CACHED_SITE: #krate::__private::Site = #site;
                let #cache_ref: &#krate::__private::Cache = #cache;
                #bindings
                let #started = #krate::__private::Started::new(#intent, #plan, #cache_ref, #write);
                #wrap(#started.load(#load))
            }
        }
    }

    fn cache(&self) -> TokenStream {
        let krate = &self.krate;
        match &self.options.cache {
            Some(expr) => quote!(&#expr),
            None => quote!(#krate::__private::default_cache()),
        }
    }

    /// Makes a plain call out of a [`call`](Self::call) expression, as the user's function returns it.
    fn make(&self, call: &TokenStream) -> TokenStream {
        match self.function.kind {
            Kind::Sync => quote!(#call.get()),
            Kind::Async => quote!(#call.get().await),
            Kind::Boxed => {
                let krate = &self.krate;
                quote!(#krate::__private::Box::pin(async move { #call.get().await }))
            }
            Kind::Opaque => quote!(async move { #call.get().await }),
        }
    }
}

/// A method keeps its body, because a method of a trait can have no helpers beside it. One with a handle can.
fn method(input: &Input) -> TokenStream {
    let Function { outer, inner, vis, .. } = &input.function;
    let krate = &input.krate;
    let sig = input.outer_signature();
    let Some(handle) = &input.options.handle else {
        let call = input.call(&quote!(#krate::__private::Intent::Plain));
        let make = input.make(&call);
        return quote!(#(#outer)* #(#inner)* #vis #sig { #make });
    };
    let names = input.argument_names();
    let hidden = format_ident!("__cached_call_{}", sig.ident.unraw(), span = Span::mixed_site());
    let receiver = match input.function.sig.inputs.first() {
        Some(FnArg::Receiver(receiver)) => {
            let token = receiver.self_token;
            quote!(#token.#hidden)
        }
        _ => {
            let turbofish = input.turbofish();
            quote!(Self::#hidden #turbofish)
        }
    };
    let call_type = input.call_type();
    let hidden_sig =
        input.signature(&hidden, &quote!(__cached_intent: #krate::__private::Intent), &call_type);
    let handle_sig = input.signature(handle, &TokenStream::new(), &call_type);
    let call = input.call(&quote!(__cached_intent));
    let make = input.make(&quote!(#receiver(#krate::__private::Intent::Plain, #(#names),*)));
    let doc = format!("The cache entry of [`{name}`](Self::{name}) for these arguments.", name = sig.ident);
    quote! {
        #(#outer)* #vis #sig { #make }

        #[doc = #doc]
        #vis #handle_sig { #receiver(#krate::__private::Intent::Beside, #(#names),*) }

        #(#inner)*
        #[doc(hidden)]
        #hidden_sig { #call }
    }
}

/// A variable of the generated code, which no variable of the user's can be confused with.
fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// The typed arguments.
fn typed(sig: &mut Signature) -> impl Iterator<Item = &mut syn::PatType> {
    sig.inputs.iter_mut().filter_map(|input| match input {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    })
}
