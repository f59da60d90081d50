//! Reports of operations on their connection: broken, or refused by a server in another state.
//!
//! The supervisor waits for the reports about its current session, and replaces the connection. A report
//! about an earlier session has no effect, since sessions are numbered.

use std::sync::Mutex;

use cached_core::{TierCause, tier::ChangeFeed};
use tokio::sync::Notify;

use crate::{
    node::{
        link::{Link, LinkState, lock},
        session::Session,
    },
    protocol::failure::Verdict,
};

/// Reports about the sessions of a link.
#[derive(Debug, Default)]
pub(super) struct Reports {
    newest: Mutex<NewestReports>,
    added: Notify,
}

/// Newest sessions that operations have reported as broken or refusing.
#[derive(Debug, Default)]
struct NewestReports {
    broken: u64,
    refusing: u64,
}

impl Reports {
    /// Adds the report of an operation over the session with this number.
    fn add(&self, session: u64, verdict: Verdict) {
        {
            let mut newest = lock(&self.newest);
            let newest_reported = match verdict {
                Verdict::Sound => return,
                Verdict::Refusing => &mut newest.refusing,
                Verdict::Broken => &mut newest.broken,
            };
            *newest_reported = session.max(*newest_reported);
        }
        self.added.notify_one();
    }

    /// Takes the verdict that operations have reported about a session so far.
    fn take_verdict(&self, session: u64) -> Verdict {
        let mut newest = lock(&self.newest);
        if newest.broken >= session {
            Verdict::Broken
        } else if newest.refusing >= session {
            // One report leads to one attempt at another connection.
            newest.refusing = 0;
            Verdict::Refusing
        } else {
            Verdict::Sound
        }
    }
}

impl Link {
    /// Records a refusal, and notifies the supervisor if the server's state is the cause.
    pub(crate) fn record_refusal(&self, session: &Session, cause: TierCause, verdict: Verdict) {
        if verdict == Verdict::Refusing && self.is_current(session) {
            self.condition.update(|facts| {
                facts.refusing = true;
                facts.why.refusing = Some(cause);
            });
        }
        self.report_to_supervisor(session, verdict);
    }

    /// Records that a server used as a standalone one redirects some keys to another server.
    pub(crate) fn record_moved(&self, session: &Session) {
        if self.is_current(session) {
            self.condition.update(|facts| facts.why.moved = true);
        }
    }

    /// Reports the verdict of an operation on its connection to the supervisor.
    pub(crate) fn report(&self, session: &Session, verdict: Verdict) {
        self.report_to_supervisor(session, verdict);
        if verdict == Verdict::Refusing && self.is_current(session) {
            self.condition.update(|facts| facts.refusing = true);
        }
    }

    /// Reports like [`report`](Self::report), but leaves the condition as it is: another connection may be
    /// better.
    pub(crate) fn report_to_supervisor(&self, session: &Session, verdict: Verdict) {
        self.reports.add(session.id, verdict);
    }

    /// Has the connection of this change feed replaced, if it is the current one.
    pub(crate) fn report_broken(&self, feed: &ChangeFeed) {
        if let LinkState::Up(session) = self.state()
            && feed.covers(&session.feed)
        {
            self.report(&session, Verdict::Broken);
        }
    }

    /// Waits until an operation reports a problem of this session.
    pub(crate) async fn wait_for_problem(&self, session: &Session) -> Verdict {
        loop {
            let verdict = self.reports.take_verdict(session.id);
            if verdict != Verdict::Sound {
                return verdict;
            }
            self.reports.added.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_is_reported_once_and_a_break_for_good() {
        let reports = Reports::default();
        reports.add(2, Verdict::Sound);
        assert_eq!(reports.take_verdict(2), Verdict::Sound);
        reports.add(2, Verdict::Refusing);
        assert_eq!([reports.take_verdict(2), reports.take_verdict(2)], [Verdict::Refusing, Verdict::Sound]);
        reports.add(2, Verdict::Broken);
        assert_eq!([reports.take_verdict(2), reports.take_verdict(2)], [Verdict::Broken; 2]);
    }

    #[test]
    fn report_on_an_earlier_session_has_no_effect() {
        let reports = Reports::default();
        for verdict in [Verdict::Refusing, Verdict::Broken] {
            reports.add(1, verdict);
        }
        assert_eq!(reports.take_verdict(2), Verdict::Sound);
    }
}
