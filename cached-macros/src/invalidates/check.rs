//! Checks of the targets against the function.

use proc_macro2::Span;
use syn::LitStr;

use super::targets::Targets;
use crate::{
    check::names,
    errors::Errors,
    parse::{
        function::{Function, Kind},
        template::{Piece, Role, Template},
    },
};

/// Templates that the targets contain.
pub(super) struct Templates {
    pub(super) tags: Vec<Template>,
    pub(super) patterns: Vec<Template>,
}

pub(super) fn check(targets: &Targets, function: &Function, errors: &mut Errors) -> Templates {
    if function.kind == Kind::Sync {
        errors.at(
            function.sig.fn_token,
            "a function that is not async cannot wait for an invalidation: make it `async`, or leave the attribute out \
             and invalidate where it is called",
        );
    }
    let targets_cache = !targets.tags.is_empty() || !targets.prefixes.is_empty() || targets.clear.is_some();
    if !targets_cache && targets.entries.is_empty() && !targets.is_broken {
        errors.push(syn::Error::new(
            Span::call_site(),
            "the attribute must name a target: write an entry, such as `syllabus(exam)`, or `tags = \
             [\"note:{id}\"]`, `prefix = \"user:{id}:\"` or `clear`",
        ));
    } else if let Some((name, _)) = targets.cache.as_ref().filter(|_| !targets_cache && !targets.is_broken) {
        errors.at(
            name,
            "`cache` applies to `tags`, `prefix` and `clear` only: an entry has the cache of its function; \
             leave `cache` out",
        );
    }
    let mut parse = |literals: &[LitStr], role| -> Vec<Template> {
        let parsed = literals.iter().filter_map(|literal| errors.take(Template::parse(literal, role)));
        parsed.collect()
    };
    let templates = Templates {
        tags: parse(&targets.tags, Role::Tag),
        patterns: parse(&targets.prefixes, Role::Pattern),
    };
    for template in templates.tags.iter().chain(&templates.patterns) {
        for placeholder in template.placeholders() {
            names::check(
                placeholder,
                template,
                function.names().chain(function.bound_names()).collect(),
                errors,
            );
        }
    }
    let open = |mut pattern: Template| {
        check_end(&pattern, errors);
        pattern.append_wildcard();
        pattern
    };
    Templates { patterns: templates.patterns.into_iter().map(open).collect(), ..templates }
}

/// Rejects a pattern that matches more than it seems to.
fn check_end(pattern: &Template, errors: &mut Errors) {
    match pattern.pieces.last() {
        Some(Piece::Placeholder(placeholder)) => {
            let name = &placeholder.argument;
            errors.at(
                &pattern.literal,
                format!(
                    "a name that begins with one `{{{name}}}` may begin with another, as 10 begins with 1: \
                     end the prefix in `:`, or in `*` if that is intended"
                ),
            );
        }
        _ if pattern.literal.value().chars().all(|c| c == '*') => {
            errors.at(&pattern.literal, "this prefix matches every name: write `clear`");
        }
        _ => {}
    }
}
