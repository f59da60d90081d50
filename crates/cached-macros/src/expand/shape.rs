//! The return type and the policies, for the runtime.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};

use super::{Input, local};

/// The `Plan` of the function.
pub(super) fn plan(input: &Input) -> TokenStream {
    let krate = &input.krate;
    let output = &input.function.output;
    let shape = shape(input);
    let slot = local("__cached_slot");
    let kind =
        quote_spanned!(input.function.output_span()=> #krate::__private::Probe::<#output>::new().kind());
    quote! {
        #krate::__private::Plan {
            site: &__CACHED_SITE,
            hit: |#slot| {
                #[allow(unused_imports)]
                use #krate::__private::PlainKind as _;
                #kind.restore_value(#slot)
            },
            shape: || { #shape },
        }
    }
}

fn shape(input: &Input) -> TokenStream {
    let krate = &input.krate;
    let options = &input.options;
    let output = &input.function.output;
    let span = input.function.output_span();
    let shape = local("__cached_shape");

    let ttl = options.ttl.as_ref().map(|ttl| {
        let ttl = ttl.tokens(krate);
        quote!(let #shape = #shape.ttl(|| #ttl);)
    });
    let ttl_from = options.ttl_from.as_ref().map(|from| quote!(let #shape = #shape.ttl_from(#from);));
    let jitter = options.jitter.as_ref().map(|jitter| quote!(let #shape = #shape.jitter(#jitter);));
    let cache_if = options.cache_if.as_ref().map(|cache_if| quote!(let #shape = #shape.cache_if(#cache_if);));
    let cache_none = options.cache_none.as_ref().map(|name| {
        quote_spanned! {name.span()=>
            #shape.value().needs_option();
            let #shape = #shape.cache_none();
        }
    });
    let cache_err = options.cache_err.as_ref().map(|cache_err| {
        let ttl = cache_err.ttl.tokens(krate);
        let which = match &cache_err.which {
            Some(which) => quote!(#which),
            None => quote!(|_| true),
        };
        quote_spanned! {cache_err.name.span()=>
            #krate::__private::Probe::<#output>::new().needs_error();
            #shape.error().needs_clone();
            let #shape = #shape.cache_err(#ttl, #which);
        }
    });
    let values = if options.local.is_some() {
        quote! {
            let __cached_heap = #shape.value().heap();
            let #shape = #shape.heap(__cached_heap);
        }
    } else {
        quote_spanned!(span=> let #shape = #shape.shared();)
    };
    let start = quote_spanned!(span=> #krate::__private::Probe::<#output>::new().kind());
    let boxed = quote_spanned!(span=> #krate::__private::boxed(#shape));
    quote! {
        #[allow(unused_imports)]
        use #krate::__private::{
            AnyHeap as _, NeverEmpty as _, NoError as _, NoOption as _, PlainKind as _, Unshared as _, UnsharedError as _,
        };
        let #shape = #start;
        let __cached_empty = #shape.value().empty();
        let __cached_sharing = #shape.error().sharing();
        let #shape = #shape.empty_if(__cached_empty).share_errors(__cached_sharing);
        #ttl
        #ttl_from
        #jitter
        #cache_if
        #cache_none
        #cache_err
        #values
        #boxed
    }
}
