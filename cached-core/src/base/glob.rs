//! Patterns in which `*` stands for any characters.

/// Returns whether `name` matches `pattern`, in which nothing but `*` is special.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        // The leftmost match leaves the longest rest for the pieces that follow.
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// Returns whether any text matches both patterns.
pub(crate) fn may_meet(one: &str, other: &str) -> bool {
    let (one, other): (Vec<_>, Vec<_>) = (one.chars().collect(), other.chars().collect());
    // For each rest of `other`, whether it meets the rest of `one` that was examined last.
    let mut meets: Vec<bool> = (0..=other.len()).map(|at| other[at..].iter().all(|c| *c == '*')).collect();
    for at in (0..one.len()).rev() {
        let below = meets.clone();
        for to in (0..=other.len()).rev() {
            let rest = other.get(to);
            meets[to] = match (one[at], rest) {
                ('*', None) => below[to],
                (_, None) => false,
                (a, Some(b)) if a == '*' || *b == '*' => below[to] || meets[to + 1],
                (a, Some(b)) => a == *b && below[to + 1],
            };
        }
    }
    meets[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn star_matches_any_characters() {
        for (pattern, name, expected) in [
            ("a:b", "a:b", true),
            ("a:b", "a:bc", false),
            ("a:*", "a:", true),
            ("a:*", "a:b:c", true),
            ("a:*", "b:a:", false),
            ("*", "", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*b*", "abc", true),
            ("a**b", "ab", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    /// Reference implementation: tries every length for each star.
    fn matches_naively(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|skip| matches_naively(rest, &name[skip..])),
            Some((c, rest)) => name.first() == Some(c) && matches_naively(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn matches_agrees_with_the_naive_reference(pattern in "[ab*]{0,8}", name in "[ab]{0,10}") {
            prop_assert_eq!(matches(&pattern, &name), matches_naively(pattern.as_bytes(), name.as_bytes()));
        }
    }

    #[test]
    fn patterns_meet_if_a_text_matches_both() {
        for (one, other, expected) in [
            ("a:b", "a:b", true),
            ("a:b", "a:c", false),
            ("a:*", "a:b:c", true),
            ("a:7:*", "a:*:overview", true),
            ("a:7:*", "a:*", true),
            ("a:7:*", "b:*", false),
            ("*", "", true),
            ("", "", true),
            ("a", "", false),
            ("a*", "*b", true),
            ("a*c", "b*c", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(may_meet(one, other), expected, "{one} {other}");
            assert_eq!(may_meet(other, one), expected, "{other} {one}");
        }
    }

    proptest! {
        #[test]
        fn text_that_matches_both_patterns_makes_them_meet(
            one in "[ab*]{0,6}", other in "[ab*]{0,6}", text in "[ab]{0,6}"
        ) {
            if matches(&one, &text) && matches(&other, &text) {
                prop_assert!(may_meet(&one, &other));
            }
            prop_assert_eq!(may_meet(&one, &text), matches(&one, &text));
        }
    }
}
