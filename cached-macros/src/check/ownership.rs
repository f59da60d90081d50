//! Ways for an argument to get into a task of its own.

use syn::{Type, TypeReference};

use crate::parse::function::{Argument, Mentions, is_object, only_argument};

/// Way for an argument of a free function to get into a task of its own.
pub(crate) enum Holder<'a> {
    Owned(&'a Argument),
    Reference(&'a Argument, &'a TypeReference),
    OptionalReference(&'a Argument, TypeReference),
}

/// Returns how an argument gets into a task; `None` if it cannot leave the call, as far as tokens show.
pub(crate) fn holder(argument: &Argument) -> Option<Holder<'_>> {
    // Every lifetime is visible: the companions are async functions, in which the compiler allows none to be
    // elided.
    let is_unborrowed = |ty: &Type| {
        let mentions = Mentions::of(ty);
        mentions.borrow.is_none() && mentions.opaque.is_none() && !mentions.may_hide
    };
    let is_static = |reference: &TypeReference| {
        reference.lifetime.as_ref().is_some_and(|lifetime| lifetime.ident == "static")
    };
    let is_shared = |reference: &TypeReference| {
        reference.mutability.is_none() && is_unborrowed(&reference.elem) && !is_object(&reference.elem)
    };
    match (&argument.ty, optional_reference(&argument.ty)) {
        (Type::Reference(reference), _) if !is_static(reference) => {
            is_shared(reference).then_some(Holder::Reference(argument, reference))
        }
        (_, Some(reference)) if !is_static(&reference) => {
            is_shared(&reference).then_some(Holder::OptionalReference(argument, reference))
        }
        (ty, _) => is_unborrowed(ty).then_some(Holder::Owned(argument)),
    }
}

/// Returns `&T` of `Option<&T>`.
fn optional_reference(ty: &Type) -> Option<TypeReference> {
    match only_argument(ty, "Option")? {
        Type::Reference(reference) => Some(reference),
        _ => None,
    }
}
