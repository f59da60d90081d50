//! From the model to tokens. What is generated is thin: it writes the key, wraps the body, and calls the runtime.

pub(crate) mod body;
mod companions;
mod key;
mod load;
mod shape;
pub(crate) mod write;

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Expr, FnArg, GenericParam, Path, Signature, ext::IdentExt, spanned::Spanned};

use crate::{
    check::{self, Checked, key::Key},
    errors::Errors,
    function::{Function, Kind, Mentions},
    options::Options,
    template::Template,
};

/// All that the parts of an expansion need.
struct Input {
    options: Options,
    function: Function,
    template: Option<Template>,
    key: Key,
    tags: Vec<Template>,
    krate: TokenStream,
}

pub(crate) fn cached(options: TokenStream, item: &TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let options = Options::parse(options, &mut errors);
    let input = errors.take(Function::parse("cached", item.clone())).map(|function| {
        let Checked { template, key, tags } = check::check(&options, &function, &mut errors);
        let krate = runtime(options.krate.as_ref());
        Input { options, function, template, key, tags, krate }
    });
    match (errors.finish(), input) {
        (Ok(()), Some(input)) if input.is_method() => method(&input),
        (Ok(()), Some(input)) => companions::free_function(&input),
        (Ok(()), None) => TokenStream::new(),
        (Err(error), input) => {
            let error = error.into_compile_error();
            let stubs = input.map(|input| stubs(&input));
            quote!(#error #item #stubs)
        }
    }
}

/// Where the runtime is.
pub(crate) fn runtime(path: Option<&Path>) -> TokenStream {
    path.map_or_else(|| quote!(::cached_aside), |path| quote!(#path))
}

/// What code elsewhere may name, so that an error here is the only one.
fn stubs(input: &Input) -> TokenStream {
    let is_broken = |name| input.options.is_broken(name);
    if is_broken("crate") || is_broken("method") || Mentions::of(&input.function.output).opaque.is_some() {
        TokenStream::new()
    } else if !input.is_method() {
        companions::stubs(input)
    } else {
        let krate = &input.krate;
        let output = &input.function.output;
        let vis = &input.function.vis;
        let lints = lints();
        let handle = input.options.handle.as_ref().filter(|handle| **handle != input.function.sig.ident);
        let handle = handle.map(|handle| {
            input.signature(
                handle,
                &TokenStream::new(),
                &input.call_type(&quote!(#krate::__private::Ready<#output>)),
            )
        });
        handle.map(|handle| quote!(#lints #vis #handle { loop {} })).unwrap_or_default()
    }
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
        sig.constness = None;
        sig.asyncness = None;
        sig.safety = syn::Safety::Default;
        sig.abi = None;
        sig.ident = name.clone();
        if !first.is_empty() {
            let at = usize::from(self.function.has_self());
            sig.inputs.insert(at, syn::parse_quote!(#first));
        }
        sig.output = syn::parse_quote!(-> #output);
        sig
    }

    /// `Call<R, F>`, or its blocking twin.
    fn call_type(&self, future: &TokenStream) -> TokenStream {
        let krate = &self.krate;
        let output = &self.function.output;
        let name = if self.function.kind == Kind::Sync { quote!(SyncCall) } else { quote!(Call) };
        quote!(#krate::__private::#name<#output, #future>)
    }

    /// The future of the load. `impl` captures the lifetimes of the arguments, as the edition of this crate has it.
    fn future_type(&self) -> TokenStream {
        let krate = &self.krate;
        let output = &self.function.output;
        quote_spanned!(Span::mixed_site()=> impl #krate::__private::Future<Output = #output>)
    }

    /// A call with its arguments: the key is written, and L1 was asked if `intent` is a plain call.
    fn call(&self, intent: &TokenStream) -> TokenStream {
        let krate = &self.krate;
        let site = key::site(self);
        let cache = self.cache();
        let (bindings, parts) = key::parts(self);
        let tags = self.tag();
        let plan = shape::plan(self);
        let restore = shape::restore(self);
        let load = load::load(self);
        let keep = load::keep(self);
        let new = Ident::new(if keep.is_empty() { "new" } else { "counted" }, Span::mixed_site());
        let wrap = (self.function.kind == Kind::Sync).then(|| quote!(#krate::__private::SyncCall::new));
        let (cache_ref, started) = (local("__cached_cache"), local("__cached_started"));
        // Outside of an `impl` the option `method` is wrong, and this says so.
        let in_impl = self
            .options
            .method
            .as_ref()
            .map(|method| quote_spanned!(method.span()=> let _ = ::core::marker::PhantomData::<Self>;));
        quote! {
            {
                #in_impl
                static __CACHED_SITE: #krate::__private::Site = #site;
                let #cache_ref: &#krate::__private::Cache = #cache;
                #bindings
                let #started = #krate::__private::Started::#new(#intent, #plan, #cache_ref, #parts, #restore) #tags #keep;
                #wrap(#started.load(#load))
            }
        }
    }

    /// Names the tags of the entry, on a miss.
    fn tag(&self) -> TokenStream {
        if self.tags.is_empty() {
            return TokenStream::new();
        }
        let krate = &self.krate;
        let tags = local("__cached_tags");
        let each = self.tags.iter().map(|tag| write::template(krate, &self.function, tag));
        quote! {
            .tags(|#tags: &mut #krate::__private::Tags<'_>| -> #krate::__private::Result<(), #krate::__private::Error> {
                #(#tags.tag(#each)?;)*
                #krate::__private::Result::Ok(())
            })
        }
    }

    fn cache(&self) -> TokenStream {
        cache(self.options.cache.as_ref(), &self.krate)
    }

    /// Makes a plain call out of a [`call`](Self::call) expression, as the user's function returns it.
    fn make(&self, call: &TokenStream) -> TokenStream {
        let krate = &self.krate;
        let (value, future) = (local("__cached_value"), local("__cached_future"));
        // A hit leaves nothing behind in the caller's future.
        let awaited = quote! {
            match #call.make() {
                #krate::__private::Result::Ok(#value) => #value,
                #krate::__private::Result::Err(#future) => #future.await,
            }
        };
        match self.function.kind {
            Kind::Sync => quote!(#call.get()),
            Kind::Async => awaited,
            Kind::Boxed => quote!(#krate::__private::Box::pin(async move { #awaited })),
            Kind::Opaque => quote!(async move { #awaited }),
        }
    }
}

/// A method keeps its body, because a method of a trait can have no helpers beside it. One with a handle can.
fn method(input: &Input) -> TokenStream {
    let Function { outer, inner, vis, .. } = &input.function;
    let krate = &input.krate;
    let mut sig = input.outer_signature();
    let Some(handle) = &input.options.handle else {
        let call = input.call(&quote!(#krate::__private::Intent::Plain));
        let make = input.make(&call);
        // The body becomes a block in an expression, which is no style of the user's.
        return quote!(#(#outer)* #(#inner)* #[allow(unused_braces)] #vis #sig { #make });
    };
    let names = input.argument_names();
    let hidden = format_ident!("__cached_call_{}", sig.ident.unraw(), span = handle.span());
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
    let call_type = input.call_type(&input.future_type());
    let intent = local("__cached_intent");
    let mut hidden_sig = input.signature(&hidden, &quote!(#intent: #krate::__private::Intent), &call_type);
    let mut handle_sig = input.signature(handle, &TokenStream::new(), &call_type);
    for sig in [&mut sig, &mut handle_sig] {
        // Only the one with the body may change its `self`.
        if let Some(FnArg::Receiver(receiver)) = sig.inputs.first_mut() {
            receiver.mutability = None;
        }
    }
    // In the `impl` of a trait there is no place for them. The handle is to blame, because it was asked for.
    for sig in [&mut hidden_sig, &mut handle_sig] {
        sig.fn_token.span = handle.span();
    }
    let call = input.call(&quote!(#intent));
    let make = input.make(&quote!(#receiver(#krate::__private::Intent::Plain, #(#names),*)));
    let beside = braced(&quote!(#receiver(#krate::__private::Intent::Beside, #(#names),*)), handle.span());
    let call = braced(&call, handle.span());
    let lints = lints();
    let doc = format!("The cache entry of [`{name}`](Self::{name}) for these arguments.", name = sig.ident);
    quote! {
        #(#outer)* #vis #sig { #make }

        #[doc = #doc]
        #lints
        #vis #handle_sig #beside

        #(#inner)*
        #[allow(clippy::too_many_arguments)]
        #[doc(hidden)]
        #[allow(unused_braces)]
        #[inline]
        #hidden_sig #call
    }
}

/// A reference to the cache.
pub(crate) fn cache(expr: Option<&Expr>, krate: &TokenStream) -> TokenStream {
    match expr {
        Some(expr) => quote_spanned!(expr.span()=> &#expr),
        None => quote!(#krate::__private::default_cache()),
    }
}

/// A block that stands at a place.
fn braced(tokens: &TokenStream, at: Span) -> Group {
    let mut group = Group::new(Delimiter::Brace, tokens.clone());
    group.set_span(at);
    group
}

/// A variable of the generated code, which no variable of the user's can be confused with.
pub(crate) fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// The typed arguments.
fn typed(sig: &mut Signature) -> impl Iterator<Item = &mut syn::PatType> {
    sig.inputs.iter_mut().filter_map(|input| match input {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    })
}

/// What is generated follows no style of the user's.
fn lints() -> TokenStream {
    quote! {
        #[allow(
            dead_code, unused_variables, unused_mut, unused_qualifications, unreachable_pub, private_interfaces,
            private_bounds, nonstandard_style, missing_debug_implementations, missing_copy_implementations,
            clippy::all, clippy::pedantic, clippy::nursery
        )]
    }
}
