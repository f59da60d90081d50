//! Sequences of requests to replay, read from a file or generated.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use super::{Shuffle, Zipf};

/// Requests in their order. Keys are numbered in the order of their first requests.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Name in tables.
    pub name: String,
    /// Key of each request.
    pub requests: Vec<u32>,
    /// Number of different keys.
    pub footprint: u32,
}

impl Trace {
    fn new<T: std::hash::Hash + Eq>(name: &str, keys: impl Iterator<Item = T>) -> Self {
        let mut numbers = HashMap::new();
        let requests = keys.map(|key| {
            let next = u32::try_from(numbers.len()).expect("fewer than four billion keys");
            *numbers.entry(key).or_insert(next)
        });
        let requests: Vec<_> = requests.collect();
        let footprint = u32::try_from(numbers.len()).expect("fewer than four billion keys");
        Self { name: name.to_owned(), requests, footprint }
    }

    /// Reads a gzip file with one key per line.
    pub fn read(path: &Path) -> io::Result<Self> {
        let lines =
            BufReader::new(MultiGzDecoder::new(File::open(path)?)).lines().collect::<Result<Vec<_>, _>>()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split('.').next().unwrap_or_default();
        if lines.is_empty() {
            return Err(io::Error::other(format!("{} has no keys", path.display())));
        }
        Ok(Self::new(name, lines.into_iter()))
    }

    /// Generates sequences that are known to be hard for one policy or another.
    pub fn generated(requests: u32) -> Vec<Self> {
        let keys = requests / 20;
        let zipf = |seed| {
            let mut zipf = Zipf::new(keys, 0.99, seed);
            move || u64::from(zipf.draw())
        };
        let (mut plain, mut mixed, mut shifting, mut shuffle) = (zipf(1), zipf(2), zipf(3), Shuffle::new(4));
        // Key that is requested only once, like those that a report reads.
        let once = |number: u32| u64::from(number) + (1 << 32);
        let all = || 0..requests;
        vec![
            Self::new("zipf", all().map(|_| plain())),
            Self::new("loop", all().map(|number| number % keys)),
            // In every second twentieth of the trace, three requests of four belong to a scan.
            Self::new(
                "zipf and scans",
                all().map(|number| {
                    let scans = number / (requests / 20) % 2 == 1;
                    if scans && shuffle.below(4) > 0 { once(number) } else { mixed() }
                }),
            ),
            // The most requested keys change after each tenth of the trace.
            Self::new(
                "shifting",
                all().map(|number| {
                    let shift = u64::from(number / (requests / 10)) * u64::from(keys / 10);
                    (shifting() + shift) % u64::from(keys)
                }),
            ),
            Self::new("scan, each key twice", all().map(|number| number / 2 / 64 * 64 + number % 64)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::Trace;

    #[test]
    fn trace_numbers_keys_by_first_request() {
        let trace = Trace::new("letters", "bananas".chars());
        assert_eq!(trace.requests, [0, 1, 2, 1, 2, 1, 3]);
        assert_eq!(trace.footprint, 4);
    }
}
