//! The keys of a run, the cached function of each key, and the keys that an invalidation reaches.

use serde::{Deserialize, Serialize};

/// Number of keys in a group: one for each kind of function.
const GROUP: u32 = 4;

/// The cached function that a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavor {
    /// Function with a tag.
    Tagged,
    /// Function without a tag.
    Plain,
    /// Function like [`Plain`](Self::Plain), but each process loads for itself.
    Own,
    /// Function with a tag and a staleness bound of zero.
    Checked,
    /// Function with tags that are computed from its value.
    Valued,
    /// No function: a keyspace in which values are set.
    Stored,
    /// Two versions of one function, with their values under one name.
    Twofold,
}

/// Name of a group, in the type that the functions take.
///
/// Invalidations write the name from another type: a tag has one name, regardless of the type.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Label(pub(crate) String);

/// Returns the name of a group. Even groups have a character that is escaped; odd ones read as a number.
pub(crate) fn label(group: u32) -> String {
    if group.is_multiple_of(2) { format!("group {group}") } else { group.to_string() }
}

/// Target of an invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Form {
    /// The key.
    Key,
    /// The tag of the key's group.
    Tag,
    /// The pattern of the key's group.
    Pattern,
    /// Everything in the cache.
    Clear,
    /// The key, deleted by another program.
    ForeignKey,
    /// Everything in Redis, deleted by another program.
    Flush,
}

impl Form {
    pub(crate) const ALL: [Self; 6] =
        [Self::Key, Self::Tag, Self::Pattern, Self::Clear, Self::ForeignKey, Self::Flush];
}

pub(crate) fn group(key: u32) -> u32 {
    key / GROUP
}

pub(crate) fn flavor(key: u32) -> Flavor {
    match (key % GROUP, group(key) % 2) {
        (0, _) => Flavor::Tagged,
        (1, 0) if group(key) % 4 == 2 => Flavor::Twofold,
        (1, 0) => Flavor::Plain,
        (1, _) => Flavor::Own,
        (2, _) => Flavor::Checked,
        (_, 0) => Flavor::Valued,
        _ => Flavor::Stored,
    }
}

/// Returns whether an invalidation that was made for key `of` reaches `key`.
pub(crate) fn reaches(form: Form, of: u32, key: u32) -> bool {
    let same_group = group(of) == group(key);
    match form {
        Form::Key | Form::ForeignKey => of == key,
        Form::Tag => {
            let has_tag = matches!(flavor(key), Flavor::Tagged | Flavor::Checked | Flavor::Valued);
            same_group && has_tag
        }
        Form::Pattern => same_group && flavor(key) != Flavor::Stored,
        Form::Clear | Form::Flush => true,
    }
}

/// Returns the name of a key in Redis, without the namespace.
///
/// Returns `None` for a key of the keyspace: its name is a digest.
pub(crate) fn name(key: u32) -> Option<String> {
    let group = label(group(key)).replace(' ', "%20");
    let type_mark = if group.parse::<u32>().is_ok() { "%S" } else { "" };
    let group = format!("{type_mark}{group}");
    Some(match flavor(key) {
        Flavor::Tagged => format!("k:{group}:tagged:{key}"),
        Flavor::Plain => format!("k:{group}:plain:{key}"),
        Flavor::Own => format!("k:{group}:own:{key}"),
        Flavor::Checked => format!("k:{group}:checked:{key}"),
        Flavor::Valued => format!("k:{group}:valued:{key}"),
        Flavor::Twofold => format!("k:{group}:twofold:{key}"),
        Flavor::Stored => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_keys_have_every_flavor_and_each_form_reaches_its_own() {
        use Flavor::{Checked, Own, Plain, Stored, Tagged, Twofold, Valued};

        let flavors: Vec<_> = (0..12).map(flavor).collect();
        let groups = [
            [Tagged, Plain, Checked, Valued],
            [Tagged, Own, Checked, Stored],
            [Tagged, Twofold, Checked, Valued],
        ];
        assert_eq!(flavors, groups.concat());
        let reached = |form, of| (0..8).filter(|&key| reaches(form, of, key)).collect::<Vec<_>>();
        assert_eq!(reached(Form::Key, 5), [5]);
        assert_eq!(reached(Form::Tag, 1), [0, 2, 3]);
        assert_eq!(reached(Form::Tag, 4), [4, 6]);
        assert_eq!(reached(Form::Pattern, 0), [0, 1, 2, 3]);
        assert_eq!(reached(Form::Pattern, 7), [4, 5, 6]);
        assert_eq!(reached(Form::Clear, 3).len(), 8);
    }
    #[test]
    fn names_are_those_in_redis() {
        assert_eq!(name(2).as_deref(), Some("k:group%200:checked:2"));
        assert_eq!(name(5).as_deref(), Some("k:%S1:own:5"));
        assert_eq!(name(7), None);
    }
}
