//! What tells apart functions, and instances of functions, that have the same prefix and the same arguments.
//!
//! Two names of types say where code stands: that of a closure in it, which has the types of the instance in it
//! (`<app::Repo<u32> as app::Load<u8>>::load::{{closure}}`), and that of an item in it, which has none.

use std::any::type_name;

use crate::key::{Scope, ScopeValue};

/// The name of a closure's type.
pub fn name_of<T>(_: &T) -> &'static str {
    type_name::<T>()
}

/// A free function without a prefix. Its path alone names it, unless it stands inside of another function: there the
/// type of the companions says in which one, and blocks of that one are told apart by the place.
#[inline]
pub fn free_scope(
    path: &str,
    companions: &'static str,
    place: (u32, u32),
) -> Option<(Scope, ScopeValue<(u32, u32)>)> {
    (path != companions).then_some((Scope(companions), ScopeValue(place)))
}

/// A method under a prefix. It may stand in a trait or in a generic `impl`, and then it has instances.
#[inline]
pub fn method_scope(closure: &'static str, item: &str) -> Option<Scope> {
    (!is_one(closure, item)).then_some(Scope(closure))
}

/// Whether all instances have one name.
fn is_one(closure: &str, item: &str) -> bool {
    // Both end in what they are, after the path to it.
    let path = |name| str::rsplit_once(name, "::").map(|(path, _)| path);
    path(closure) == path(item)
}
