//! Default namespace, made from the name of the program, for caches that share a tier and have none
//! configured.

use std::{env, fmt::Write as _, path::Path};

/// Returns a namespace made from the name of the program: the name itself if it is a valid one.
///
/// Returns `None` if the name is unknown.
pub(crate) fn namespace() -> Option<String> {
    namespace_of(&env::current_exe().ok()?)
}

fn namespace_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.as_encoded_bytes();
    // Linux appends this once the executable was replaced, as by a deployment. Processes from before and
    // after are the same program.
    let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
    let name = String::from_utf8_lossy(name);
    let stem = name.strip_suffix(".exe").unwrap_or(&name);
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if stem.chars().all(is_allowed) {
        return Some(stem.to_owned());
    }
    // The hash keeps names apart that differ only in characters which are replaced.
    let mut namespace: String = stem.chars().map(|c| if is_allowed(c) { c } else { '-' }).collect();
    for byte in &blake3::hash(stem.as_bytes()).as_bytes()[..4] {
        let _ = write!(namespace, "{byte:02x}");
    }
    Some(namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> String {
        namespace_of(Path::new(path)).unwrap()
    }

    #[test]
    fn replaced_executable_keeps_its_namespace() {
        assert_eq!(of("/srv/shop"), "shop");
        assert_eq!(of("/srv/shop (deleted)"), "shop");
        assert_eq!(of("/srv/shop.exe"), "shop");
        assert_eq!(of("/srv/shop.web"), "shop.web");
    }

    #[test]
    fn invalid_names_get_distinct_namespaces() {
        let (one, other) = (of("/srv/my shop"), of("/srv/my:shop"));
        assert!(one.starts_with("my-shop") && one.len() == "my-shop".len() + 8, "{one}");
        assert_ne!(one, other);
        assert_eq!(of("/srv/my shop (deleted)"), one);
    }
}
