//! Templates of tags and patterns, with their parts given separately: `"note:{}"`.
//!
//! The grammar is that of the attributes, with `{}` in the place of `{name}`, so that a tag has one name
//! wherever it is written.

/// Returns the flaw of a template for this number of parts, if it has one.
///
/// A `*` stands for any characters, where `allows_star` permits it.
pub const fn flaw(template: &str, parts: usize, allows_star: bool) -> Option<&'static str> {
    let bytes = template.as_bytes();
    if bytes.is_empty() {
        return Some("a tag or a pattern must not be empty");
    }
    let (mut at, mut placeholders, mut is_separated) = (0, 0, true);
    while at < bytes.len() {
        let byte = bytes[at];
        let next = if at + 1 < bytes.len() { bytes[at + 1] } else { 0 };
        if byte == b'{' && next == b'}' {
            if !is_separated {
                return Some("two parts of a tag or a pattern would be ambiguous: put a `:` between them");
            }
            (placeholders, is_separated) = (placeholders + 1, false);
            at += 2;
            continue;
        }
        if matches!(byte, b'{' | b'}') {
            if next != byte {
                return Some(
                    "a template must have `{}` in the place of each part: write `{{` or `}}` for a brace",
                );
            }
            at += 1;
        }
        if byte.is_ascii_whitespace() || byte.is_ascii_control() || matches!(byte, b'?' | b'[' | b']' | b'\\')
        {
            return Some("a template must not contain whitespace or any of `? [ ] \\`");
        }
        if byte == b'*' && !allows_star {
            return Some("a tag must not contain `*`");
        }
        if !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_' | b'.' | b'@' | b'%') {
            is_separated = true;
        }
        at += 1;
    }
    if placeholders == parts { None } else { Some("a template must have one `{}` for each part") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flaw_is_found_in_invalid_templates_only() {
        for (template, parts, may_star, expected) in [
            ("note:{}", 1, false, None),
            ("notes", 0, false, None),
            ("{}", 1, false, None),
            ("a:{}:{}/{}", 3, false, None),
            ("a{{{}}}", 1, false, None),
            ("a:{}:*", 1, true, None),
            ("a:{}:*", 1, false, Some("contain `*`")),
            ("", 0, false, Some("empty")),
            ("a:{}", 0, false, Some("one `{}` for each")),
            ("a", 1, true, Some("one `{}` for each")),
            ("a:{}{}", 2, false, Some("ambiguous")),
            ("a:{}-{}", 2, false, Some("ambiguous")),
            ("a:{id}", 0, false, Some("in the place of each part")),
            ("a:{", 0, false, Some("in the place of each part")),
            ("a}", 0, false, Some("in the place of each part")),
            ("a b", 0, false, Some("whitespace")),
            ("a\n", 0, true, Some("whitespace")),
            ("a[b]", 0, true, Some("whitespace")),
        ] {
            let found = flaw(template, parts, may_star);
            let is_expected =
                expected.map_or(found.is_none(), |part| found.is_some_and(|text| text.contains(part)));
            assert!(is_expected, "{template:?}: {found:?}");
        }
    }
}
