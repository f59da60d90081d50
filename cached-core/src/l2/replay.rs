//! Telling the shared tier what it could not be told when it was said.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    base::race::within,
    coherence::outbox::{Outbox, OutboxItem, SIGN},
    error::tier::TierError,
    flight::Flights,
    l2::{shared::Shared, standing::Standing},
    telemetry::{event::SharedObservers, functions::FunctionRegistry},
    tier::ChangeListener,
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many words are told in one round trip.
const BATCH: usize = 256;

/// Hears what the tier says.
#[derive(Debug)]
pub(crate) struct FeedListener {
    shared: Weak<Shared>,
    flights: Arc<Flights>,
    functions: Arc<FunctionRegistry>,
    standing: Standing,
}

impl FeedListener {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        flights: Arc<Flights>,
        functions: Arc<FunctionRegistry>,
        observers: SharedObservers,
    ) -> Self {
        Self { shared: Arc::downgrade(shared), flights, functions, standing: Standing::new(observers) }
    }
}

impl ChangeListener for FeedListener {
    fn changed(&self, key: &[u8]) {
        if let (Some(shared), Ok(name)) = (self.shared.upgrade(), std::str::from_utf8(key)) {
            shared.marks.end(name);
        }
    }

    fn all_changed(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.marks.end_all();
        }
    }

    fn restored(&self) {
        if let Some(shared) = self.shared.upgrade() {
            if shared.pending.is_empty() {
                return;
            }
            // At once, and a flush waits for it.
            shared.pending.urge(|| Some(shared.background.begin()));
            tell_again(&shared);
        }
    }

    fn standing_changed(&self) {
        // That a cache which takes leave has no connection any more is no news.
        if let Some(shared) = self.shared.upgrade()
            && !*shared.leaving.borrow()
        {
            self.standing.look(&shared);
        }
    }

    fn served(&self) -> Option<u64> {
        (self.flights.len() == 0).then(|| self.functions.served())
    }
}

/// Begins to tell, unless that goes on already.
pub(crate) fn tell_again(shared: &Arc<Shared>) {
    if shared.pending.is_empty() {
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    // It goes on until nothing is left. One task for each word would be many in a long outage.
    let Some(mut turn) = Turn::begin(shared) else { return };
    let shared = Arc::downgrade(shared);
    runtime.spawn(async move {
        let mut pause = SHORTEST_PAUSE;
        // Upgraded anew in each round, so that a cache which is gone ends this.
        while let Some(shared) = shared.upgrade() {
            // Of a cache that was closed nothing is told any more.
            if *shared.leaving.borrow() {
                return;
            }
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
            match turn.keep(&shared, tell_some(&shared)).await {
                None => return,
                Some(Ok(())) => pause = SHORTEST_PAUSE,
                Some(Err(_)) => {
                    let urged = shared.pending.urged.notified();
                    if shared.pending.may_wait(turn.number) {
                        within(pause, urged).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
    });
}

/// The right to tell. Should its task be ended, the next one takes it.
struct Turn {
    shared: Weak<Shared>,
    number: u64,
}

impl Turn {
    /// A flush waits for the first try, and not for a tier to come back.
    fn begin(shared: &Arc<Shared>) -> Option<Self> {
        let number = shared.pending.begin_telling(|| Some(shared.background.begin()))?;
        Some(Self { shared: Arc::downgrade(shared), number })
    }

    /// Shows that the task goes on while it works, however long that takes. `None` if another one has taken the turn, which
    /// this one finds when its runtime stood still: then it goes no further.
    async fn keep<T>(&self, shared: &Shared, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            if !shared.pending.go_on_telling(self.number) {
                return None;
            }
            if let Some(done) = within(SIGN, work.as_mut()).await {
                return Some(done);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.pending.end_telling(self.number);
        }
    }
}

/// What costs little first, and one pattern at a time, so that keys need not wait for several.
async fn tell_some(shared: &Shared) -> Result<(), TierError> {
    // Whether it is worth a read or not: a tier that cannot be reached fails at once.
    let words = shared.pending.some(BATCH);
    if let [(OutboxItem::Matching(pattern), _)] = &words[..] {
        shared.sweep(pattern).await?;
    } else {
        shared.delete(words.iter().map(|(word, _)| word.text().to_owned()).collect()).await?;
    }
    settle(shared, &words);
    Ok(())
}

/// What was read before the tier knew must not stay, as nobody tells of one's own words.
fn settle(shared: &Shared, told: &[(OutboxItem, u64)]) {
    for (word, number) in told {
        match word {
            OutboxItem::Key(key) => shared.marks.end(key),
            OutboxItem::Matching(pattern) => shared.marks.end_matching(pattern),
        }
        Outbox::told(&shared.pending, word, *number);
    }
}
