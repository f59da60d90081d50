//! Which keys there are, which cached function each of them belongs to, and what an invalidation reaches.

use serde::{Deserialize, Serialize};

/// Four keys make a group: one of each kind of function.
const GROUP: u32 = 4;

/// The cached function that a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavor {
    /// With a tag.
    Tagged,
    /// Without.
    Plain,
    /// As [`Plain`](Self::Plain), and each process loads for itself.
    Own,
    /// With a tag, and a bound of zero.
    Checked,
    /// Its tags are made of its value.
    Valued,
    /// No function: a keyspace that values are put into.
    Stored,
}

/// What an invalidation is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Form {
    /// The key.
    Key,
    /// The tag of the key's group.
    Tag,
    /// The pattern of the key's group.
    Pattern,
    /// Nothing: all goes.
    Clear,
    /// The key, by another program.
    ForeignKey,
    /// Nothing, by another program: all goes, whatever it is.
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
        (1, 0) => Flavor::Plain,
        (1, _) => Flavor::Own,
        (2, _) => Flavor::Checked,
        (_, 0) => Flavor::Valued,
        _ => Flavor::Stored,
    }
}

/// Whether an invalidation that was made for key `of` reaches `key`.
pub(crate) fn reaches(form: Form, of: u32, key: u32) -> bool {
    let same_group = group(of) == group(key);
    match form {
        Form::Key | Form::ForeignKey => of == key,
        Form::Tag => same_group && !matches!(flavor(key), Flavor::Plain | Flavor::Own | Flavor::Stored),
        Form::Pattern => same_group && flavor(key) != Flavor::Stored,
        Form::Clear | Form::Flush => true,
    }
}

/// The name of a key in Redis, without the namespace; `None` for the keyspace's, whose names are digests.
pub(crate) fn name(key: u32) -> Option<String> {
    let group = group(key);
    Some(match flavor(key) {
        Flavor::Tagged => format!("k:{group}:tagged:{key}"),
        Flavor::Plain => format!("k:{group}:plain:{key}"),
        Flavor::Own => format!("k:{group}:own:{key}"),
        Flavor::Checked => format!("k:{group}:checked:{key}"),
        Flavor::Valued => format!("k:{group}:valued:{key}"),
        Flavor::Stored => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_keys_have_every_flavor_and_each_form_reaches_its_own() {
        let flavors: Vec<_> = (0..8).map(flavor).collect();
        for flavor in
            [Flavor::Tagged, Flavor::Plain, Flavor::Own, Flavor::Checked, Flavor::Valued, Flavor::Stored]
        {
            assert!(flavors.contains(&flavor), "{flavor:?}");
        }
        let reached = |form, of| (0..8).filter(|&key| reaches(form, of, key)).collect::<Vec<_>>();
        assert_eq!(reached(Form::Key, 5), [5]);
        assert_eq!(reached(Form::Tag, 1), [0, 2, 3]);
        assert_eq!(reached(Form::Tag, 4), [4, 6]);
        assert_eq!(reached(Form::Pattern, 0), [0, 1, 2, 3]);
        assert_eq!(reached(Form::Pattern, 7), [4, 5, 6]);
        assert_eq!(reached(Form::Clear, 3).len(), 8);
    }
}
