//! Telling the shared tier what it could not be told when it was said.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    cache::Cache,
    either::within,
    pending::{Pending, Word},
    shared::Shared,
    tier::{Tier, TierError, Watcher},
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many words are told in one round trip.
const BATCH: usize = 256;

/// Hears what the tier says.
#[derive(Debug)]
pub(crate) struct Ears(Weak<Shared>);

impl Ears {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::downgrade(shared))
    }
}

impl Watcher for Ears {
    fn changed(&self, key: &[u8]) {
        if let (Some(shared), Ok(name)) = (self.0.upgrade(), std::str::from_utf8(key)) {
            shared.marks.end(name);
        }
    }

    fn all_changed(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.marks.end_all();
        }
    }

    fn restored(&self) {
        if let Some(shared) = self.0.upgrade() {
            // At once, and whoever flushes waits for it.
            shared.pending.pass_turn();
            tell_again(&shared);
        }
    }
}

impl Cache {
    /// Begins to tell, unless that goes on already.
    pub(crate) fn tell_again(&self) {
        tell_again(self.shared());
    }
}

fn tell_again(shared: &Arc<Shared>) {
    if shared.pending.is_empty() {
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    // Whoever tells goes on until nothing is left. One task for each word would be many in a long outage.
    let Some(mut turn) = Turn::begin(shared) else { return };
    // Whoever flushes waits for the first try, and not for a tier to come back.
    let mut job = Some(shared.background.begin());
    let shared = Arc::downgrade(shared);
    runtime.spawn(async move {
        let mut pause = SHORTEST_PAUSE;
        // Upgraded anew in each round, so that a cache which is gone ends this.
        while let Some(shared) = shared.upgrade() {
            if shared.pending.is_empty() {
                drop(turn);
                // Asked when the turn is over: what is added later finds it free.
                if shared.pending.is_empty() {
                    return;
                }
                match Turn::begin(&shared) {
                    Some(next) => turn = next,
                    None => return,
                }
            }
            if !shared.pending.go_on_telling(turn.number) {
                return;
            }
            if tell_some(&shared).await.is_ok() {
                pause = SHORTEST_PAUSE;
                continue;
            }
            drop(job.take());
            within(pause, shared.pending.passed.notified()).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    });
}

/// The right to tell. Should its task be ended, the next one takes it.
struct Turn {
    shared: Weak<Shared>,
    number: u64,
}

impl Turn {
    fn begin(shared: &Arc<Shared>) -> Option<Self> {
        let number = shared.pending.begin_telling()?;
        Some(Self { shared: Arc::downgrade(shared), number })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.pending.end_telling(self.number);
        }
    }
}

async fn tell_some(shared: &Shared) -> Result<(), TierError> {
    // Whether it is worth a read or not: a tier that cannot be reached fails at once.
    let words = shared.pending.some(BATCH);
    let (keys, patterns): (Vec<_>, Vec<_>) =
        words.into_iter().partition(|(word, _)| matches!(word, Word::Key(_)));
    let names: Vec<_> = keys.iter().map(|(word, _)| word.text().to_owned()).collect();
    if !names.is_empty() {
        shared.delete(names).await?;
        settle(shared, &keys);
    }
    for pattern in patterns {
        shared.tier.delete_matching(pattern.0.text()).await?;
        settle(shared, &[pattern]);
    }
    Ok(())
}

/// What was read before the tier knew must not stay, as nobody tells of one's own words.
fn settle(shared: &Shared, told: &[(Word, u64)]) {
    for (word, number) in told {
        match word {
            Word::Key(key) => shared.marks.end(key),
            Word::Matching(pattern) => shared.marks.end_matching(pattern),
        }
        Pending::told(&shared.pending, word, *number);
    }
}
