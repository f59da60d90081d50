//! Code generation for `#[cached]`: from the options and the function to tokens.
//!
//! The generated code is thin: it writes the key, wraps the body, and calls the runtime. `companions`
//! generates a free function, `key` and `write` its key, `policy` its policies, and `load` and `body` its
//! load. `order` delays the expansion until all other attributes are expanded.

pub(crate) mod body;
mod companions;
mod key;
mod load;
mod order;
mod policy;
pub(crate) mod write;

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Expr, FnArg, GenericParam, Path, Signature, Visibility, ext::IdentExt, spanned::Spanned};

use crate::{
    check::{self, Checked, key::Key},
    errors::Errors,
    parse::{
        function::{Function, Kind, Mentions},
        options::Options,
        template::Template,
    },
};

/// Input of an expansion: the options and the function, with the results of the checks.
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
    let (is_last, tokens) = order::is_last(options);
    let options = Options::parse(tokens.clone(), &mut errors);
    let function = errors.take(Function::parse("cached", item.clone()));
    if let Some(second) = function.as_ref().and_then(|function| order::second_cached(&function.attributes)) {
        errors.at(second, "a function cannot be cached twice: leave one of the two `#[cached]` out");
        let error = errors.finish().err().map(syn::Error::into_compile_error);
        return quote!(#error #item);
    }
    if let (Some(function), true, false) = (&function, errors.is_empty(), is_last)
        && order::may_need_expansion(&function.attributes)
    {
        return order::move_last(&runtime(options.krate.as_ref()), &tokens, item);
    }
    let input = function.map(|function| {
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

/// Returns the path of the runtime.
pub(crate) fn runtime(path: Option<&Path>) -> TokenStream {
    let Some(path) = path else { return quote!(::cached_aside) };
    let each = |mut token: TokenTree| {
        // The span of `$crate` determines its meaning, and is kept.
        if !matches!(&token, TokenTree::Ident(ident) if ident == "$crate") {
            token.set_span(Span::call_site().located_at(token.span()));
        }
        token
    };
    path.to_token_stream().into_iter().map(each).collect()
}

/// Generates stubs of the items that other code may name, so that an error here is the only one.
fn stubs(input: &Input) -> TokenStream {
    let is_broken = |name| input.options.is_broken(name);
    if is_broken("crate") || is_broken("method") || Mentions::of(&input.function.output).opaque.is_some() {
        TokenStream::new()
    } else if !input.is_method() {
        companions::stubs(input)
    } else {
        let vis = &input.function.vis;
        let (lints, vis) = (lints(), generated_vis(vis));
        let handle = input.options.handle.as_ref().filter(|handle| **handle != input.function.sig.ident);
        let handle = handle.map(|handle| {
            input.signature(handle, &TokenStream::new(), &input.call_type(&input.no_load_type()))
        });
        let names = input.argument_names();
        handle.map(|handle| quote!(#lints #vis #handle { #(let _ = &#names;)* loop {} })).unwrap_or_default()
    }
}

impl Input {
    fn is_method(&self) -> bool {
        self.function.names_self() || self.options.method.is_some()
    }

    /// Returns the name of the struct that holds the companions of a free function.
    fn holder_name(&self) -> &Ident {
        self.options.companions.as_ref().unwrap_or(&self.function.sig.ident)
    }

    /// Returns `::<T, N>`, so that parameters which no argument determines reach the generated functions.
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

    /// Returns the user's signature as callers see it, with plain names for patterns.
    fn outer_signature(&self) -> Signature {
        let mut sig = self.function.sig.clone();
        for (input, argument) in typed_arguments(&mut sig).zip(&self.function.arguments) {
            let name = &argument.name;
            *input.pat = syn::parse_quote!(#name);
        }
        sig
    }

    /// Returns the signature of a generated function: the user's arguments, with `first` before them.
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

    /// Returns the type `Call<R, F>`, or `SyncCall<R, F>` for a function that is not async.
    fn call_type(&self, future: &TokenStream) -> TokenStream {
        let krate = &self.krate;
        let output = &self.function.output;
        let name = if self.function.kind == Kind::Sync { quote!(SyncCall) } else { quote!(Call) };
        quote!(#krate::__private::#name<#output, #future>)
    }

    /// Returns the type of the load: a future, or a closure for a function that is not async. `impl` captures
    /// the lifetimes of the arguments, as in the edition of this crate.
    fn load_type(&self) -> TokenStream {
        let krate = &self.krate;
        let output = &self.function.output;
        let at = Span::mixed_site();
        match self.function.kind {
            Kind::Sync => quote_spanned!(at=> impl ::core::ops::FnOnce() -> #output),
            _ => quote_spanned!(at=> impl #krate::__private::Future<Output = #output>),
        }
    }

    /// Returns a type in place of `load_type`, for a call that is never made.
    fn no_load_type(&self) -> TokenStream {
        let krate = &self.krate;
        let output = &self.function.output;
        match self.function.kind {
            Kind::Sync => quote!(fn() -> #output),
            _ => quote!(#krate::__private::Ready<#output>),
        }
    }

    /// Generates a call with its arguments. It writes the key, and looks into L1 if `intent` is a plain call.
    fn call(&self, intent: &TokenStream) -> TokenStream {
        let krate = &self.krate;
        let spec = key::spec(self);
        let cache = self.cache();
        let (bindings, parts) = key::parts(self);
        let tags = self.tags_closure();
        let call_spec = policy::call_spec(self);
        let restore = policy::restore(self);
        let load = match self.function.kind {
            Kind::Sync => {
                let body = load::sync_body(self);
                quote!(body(#body))
            }
            _ => {
                let load = load::load(self);
                quote!(load(#load))
            }
        };
        let recipe = load::recipe_call(self);
        let constructor = Ident::new(if recipe.is_empty() { "new" } else { "counted" }, Span::mixed_site());
        let (cache_ref, started) = (local("__cached_cache"), local("__cached_started"));
        // Makes the compiler reject the option `method` outside of an `impl`, where there is no `Self`.
        let in_impl = self
            .options
            .method
            .as_ref()
            .map(|method| quote_spanned!(method.span()=> let _ = ::core::marker::PhantomData::<Self>;));
        quote! {
            {
                #in_impl
                static __CACHED_SITE: #krate::__private::FunctionSpec = #spec;
                let #cache_ref: &#krate::__private::Cache = #cache;
                #bindings
                let #started = #krate::__private::Started::#constructor(#intent, #call_spec, #cache_ref, #parts, #restore) #tags #recipe;
                #started.#load
            }
        }
    }

    /// Generates the closure that names the tags of the entry, which runs on a miss.
    fn tags_closure(&self) -> TokenStream {
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

    /// Turns a [`call`](Self::call) expression into a plain call, in the form that the user's function
    /// returns.
    fn make_call(&self, call: &TokenStream) -> TokenStream {
        let krate = &self.krate;
        let (value, future) = (local("__cached_value"), local("__cached_future"));
        // A hit keeps nothing in the caller's future.
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

/// Generates a method. The body stays in the method, because a method of a trait can have no helpers beside
/// it. A method with a handle can.
fn method(input: &Input) -> TokenStream {
    let Function { outer, inner, vis, .. } = &input.function;
    let krate = &input.krate;
    let mut sig = input.outer_signature();
    let Some(handle) = &input.options.handle else {
        let call = input.call(&quote!(#krate::__private::Intent::Plain));
        // A function of its own makes the call. It takes no space in the stack frame below a body that is not
        // async, and is not copied with a future, which the compiler copies into each place that polls it.
        let call = quote!(#krate::__private::out_of_line(|| #call));
        let make = input.make_call(&call);
        // The body becomes a block in an expression, and its braces are not the user's style.
        return quote!(#(#outer)* #(#inner)* #vis #sig { #make });
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
    let call_type = input.call_type(&input.load_type());
    let intent = local("__cached_intent");
    let mut hidden_sig = input.signature(&hidden, &quote!(#intent: #krate::__private::Intent), &call_type);
    let mut handle_sig = input.signature(handle, &TokenStream::new(), &call_type);
    for sig in [&mut sig, &mut handle_sig] {
        // Only the function with the body may have `mut self`.
        if let Some(FnArg::Receiver(receiver)) = sig.inputs.first_mut() {
            receiver.mutability = None;
        }
    }
    // In the `impl` of a trait, these functions are not allowed. The error then points to the handle, which
    // the user has asked for.
    for sig in [&mut hidden_sig, &mut handle_sig] {
        sig.fn_token.span = Span::mixed_site().located_at(handle.span());
    }
    handle_sig.ident = generated(handle);
    let call = input.call(&quote!(#intent));
    let make = input.make_call(&quote!(#receiver(#krate::__private::Intent::Plain, #(#names),*)));
    let at = Span::mixed_site().located_at(handle.span());
    let handle_body = braced(&quote!(#receiver(#krate::__private::Intent::Companion, #(#names),*)), at);
    let call = braced(&call, at);
    let (lints, lint_levels, shown_vis) = (lints(), &input.function.lint_levels, generated_vis(vis));
    let doc =
        format!("Returns the cache entry of [`{name}`](Self::{name}) for these arguments.", name = sig.ident);
    // In the `impl` of a trait, the compiler reports that this is no member of the trait.
    let inherent_guard = format_ident!(
        "__cached_handles_go_on_an_inherent_method_that_the_method_of_the_trait_calls__{}",
        handle.unraw(),
        span = at
    );
    quote! {
        #[doc(hidden)]
        const #inherent_guard: () = ();

        #(#outer)* #vis #sig { #make }

        #[doc = #doc]
        #lints
        #(#lint_levels)*
        #shown_vis #handle_sig #handle_body

        #(#inner)*
        #[allow(clippy::too_many_arguments)]
        #[doc(hidden)]
        #hidden_sig #call
    }
}

/// Generates a reference to the cache.
pub(crate) fn cache(expr: Option<&Expr>, krate: &TokenStream) -> TokenStream {
    match expr {
        Some(expr) => quote_spanned!(expr.span()=> &#expr),
        None => quote!(#krate::__private::default_cache()),
    }
}

/// Returns a block with the span `at`.
fn braced(tokens: &TokenStream, at: Span) -> Group {
    let mut group = Group::new(Delimiter::Brace, tokens.clone());
    group.set_span(at);
    group
}

/// Returns a variable of the generated code, which cannot be confused with a variable of the user.
pub(crate) fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// Returns a user's name for a generated item, with a span that keeps lints from reporting it to the user. It
/// does not suit a name to which a user's expression refers, such as an argument.
fn generated(name: &Ident) -> Ident {
    let mut name = name.clone();
    name.set_span(Span::mixed_site().located_at(name.span()));
    name
}

/// Returns the visibility of a generated item, with such a span on `pub`.
fn generated_vis(vis: &Visibility) -> TokenStream {
    let each = |token: TokenTree| match token {
        // A path in the parentheses keeps its spans.
        TokenTree::Ident(ident) if ident == "pub" => TokenTree::Ident(generated(&ident)),
        token => token,
    };
    vis.to_token_stream().into_iter().map(each).collect()
}

/// Returns the arguments other than `self`.
fn typed_arguments(sig: &mut Signature) -> impl Iterator<Item = &mut syn::PatType> {
    sig.inputs.iter_mut().filter_map(|input| match input {
        FnArg::Typed(typed) => Some(typed),
        FnArg::Receiver(_) => None,
    })
}

/// Allows the lints of Clippy, because generated code does not follow the user's style. The lints of the
/// compiler skip generated code, as far as the spans of its tokens mark it. They are not allowed here: if a
/// user forbids one, an `allow` would be an error.
fn lints() -> TokenStream {
    quote!(#[allow(clippy::all, clippy::pedantic, clippy::nursery)])
}
