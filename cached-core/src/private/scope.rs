//! Parts of a key that separate functions, and instances of functions, with the same prefix and the same
//! arguments.
//!
//! Two type names locate code. The type name of a closure in the code contains the types of the instance
//! (`<app::Repo<u32> as app::Load<u8>>::load::{{closure}}`). The type name of an item in the code contains
//! none.

use std::any::type_name;

use crate::key::{Scope, ScopeValue};

/// Returns the name of the type of a value, such as a closure.
pub fn name_of<T>(_: &T) -> &'static str {
    type_name::<T>()
}

/// Returns the scope of a free function without a prefix; `None` if its path alone identifies it.
///
/// Inside another function, the path is not enough. The type name of the companions then identifies the outer
/// function, and `position` separates the blocks of that function.
#[inline]
pub fn free_scope(
    path: &str,
    companions: &'static str,
    position: (u32, u32),
) -> Option<(Scope, ScopeValue<(u32, u32)>)> {
    (path != companions).then_some((Scope(companions), ScopeValue(position)))
}

/// Returns the scope of a method with a prefix; `None` if the method has only one instance.
///
/// In a trait or in a generic `impl`, a method may have several instances.
#[inline]
pub fn method_scope(closure: &'static str, item: &str) -> Option<Scope> {
    (!is_single_instance(closure, item)).then_some(Scope(closure))
}

/// Returns whether all instances have the same name.
fn is_single_instance(closure: &str, item: &str) -> bool {
    // The last segment is the closure or the item itself; the segments before it are the path to it.
    let path = |name| str::rsplit_once(name, "::").map(|(path, _)| path);
    path(closure) == path(item)
}
