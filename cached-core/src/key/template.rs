//! Templates of tags and patterns, with their parts given separately: `"note:{}"`.
//!
//! The grammar is that of the attributes, with `{}` in the place of `{name}`, so that a tag has one name
//! wherever it is written.

/// Returns the flaw of a template for this number of parts, if it has one.
///
/// A `*` stands for any characters, where `may_star` allows it.
pub const fn flaw(template: &str, parts: usize, may_star: bool) -> Option<&'static str> {
    let bytes = template.as_bytes();
    if bytes.is_empty() {
        return Some("a tag or a pattern is empty");
    }
    let (mut at, mut places, mut is_apart) = (0, 0, true);
    while at < bytes.len() {
        let byte = bytes[at];
        let next = if at + 1 < bytes.len() { bytes[at + 1] } else { 0 };
        if byte == b'{' && next == b'}' {
            if !is_apart {
                return Some(
                    "two parts of a tag or a pattern could run into each other: put a `:` between them",
                );
            }
            (places, is_apart) = (places + 1, false);
            at += 2;
            continue;
        }
        if matches!(byte, b'{' | b'}') {
            if next != byte {
                return Some("a template has `{}` in the place of each part, and `{{` or `}}` for a brace");
            }
            at += 1;
        }
        if byte.is_ascii_whitespace() || byte.is_ascii_control() || matches!(byte, b'?' | b'[' | b']' | b'\\')
        {
            return Some("a template has no whitespace in it, and none of `? [ ] \\`");
        }
        if byte == b'*' && !may_star {
            return Some("a tag has no `*` in it");
        }
        if !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_' | b'.' | b'@' | b'%') {
            is_apart = true;
        }
        at += 1;
    }
    if places == parts { None } else { Some("a template has one `{}` for each part") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_arguments_are_rejected() {
        for (template, parts, may_star, wanted) in [
            ("note:{}", 1, false, None),
            ("notes", 0, false, None),
            ("{}", 1, false, None),
            ("a:{}:{}/{}", 3, false, None),
            ("a{{{}}}", 1, false, None),
            ("a:{}:*", 1, true, None),
            ("a:{}:*", 1, false, Some("no `*`")),
            ("", 0, false, Some("empty")),
            ("a:{}", 0, false, Some("one `{}` for each")),
            ("a", 1, true, Some("one `{}` for each")),
            ("a:{}{}", 2, false, Some("run into")),
            ("a:{}-{}", 2, false, Some("run into")),
            ("a:{id}", 0, false, Some("in the place of each part")),
            ("a:{", 0, false, Some("in the place of each part")),
            ("a}", 0, false, Some("in the place of each part")),
            ("a b", 0, false, Some("whitespace")),
            ("a\n", 0, true, Some("whitespace")),
            ("a[b]", 0, true, Some("whitespace")),
        ] {
            let found = flaw(template, parts, may_star);
            let is_it = wanted.map_or(found.is_none(), |part| found.is_some_and(|text| text.contains(part)));
            assert!(is_it, "{template:?}: {found:?}");
        }
    }
}
