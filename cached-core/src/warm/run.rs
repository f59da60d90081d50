//! The future of a warm-up: up to `concurrency` lanes, each with one key at a time.
//!
//! Each lane has a waker of its own. So a wake-up of the future polls only the loads that can go on, and not
//! all of them.

use std::{
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use futures_timer::Delay;

use crate::warm::{
    report::{WarmOutcome, WarmReport, Warmed},
    source::WarmSource,
};

/// Number of keys that are started in one poll before other tasks may run.
///
/// A bound is needed, because keys that a tier has complete without a wait.
const MAX_STARTS_PER_POLL: usize = 64;

/// Longest sleep of the timer: longer than any real deadline, and safe to add to the current time.
const MAX_SLEEP: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Future of a [`Warm`](crate::Warm).
#[must_use = "nothing is warmed until this is awaited"]
pub struct Warming<S, F, Fut, P> {
    /// `None` after the source has returned its last item.
    source: Option<S>,
    each: F,
    on_progress: P,
    report: WarmReport,
    concurrency: usize,
    deadline: Option<Duration>,
    started: Option<LaneStart>,
    poller: Arc<Poller>,
    lanes: Vec<Lane<Fut>>,
}

struct LaneStart {
    at: Instant,
    timer: Option<Delay>,
}

/// One of the concurrent loads: holds at most one key at a time.
struct Lane<Fut> {
    load: Option<Pin<Box<Fut>>>,
    signal: Arc<Signal>,
    waker: Waker,
}

/// Wake-up flag of one lane: a lane is polled only if its flag is raised.
struct Signal {
    is_raised: AtomicBool,
    poller: Arc<Poller>,
}

/// Waker of the task that polls the whole warm-up.
#[derive(Default)]
struct Poller(Mutex<Option<Waker>>);

impl Poller {
    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.is_raised.store(true, Ordering::Release);
        let waker = self.poller.waker().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// No field is pinned in place: the loads are boxed.
impl<S, F, Fut, P> Unpin for Warming<S, F, Fut, P> {}

impl<S, F, Fut, P> Warming<S, F, Fut, P>
where
    S: WarmSource,
    F: FnMut(S::Item) -> Fut,
    Fut: Future<Output: WarmOutcome>,
    P: FnMut(&WarmReport),
{
    pub(crate) fn new(
        source: S,
        each: F,
        concurrency: usize,
        deadline: Option<Duration>,
        on_progress: P,
    ) -> Self {
        let report = WarmReport { total: source.total(), ..WarmReport::default() };
        Self {
            source: Some(source),
            each,
            on_progress,
            report,
            concurrency,
            deadline,
            started: None,
            poller: Arc::default(),
            lanes: Vec::new(),
        }
    }

    /// Returns whether the deadline has passed. The first call starts the time.
    fn has_timed_out(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = self.deadline;
        let started = self.started.get_or_insert_with(|| LaneStart {
            at: Instant::now(),
            timer: deadline.map(|deadline| Delay::new(deadline.min(MAX_SLEEP))),
        });
        let has_passed = deadline.is_some_and(|deadline| started.at.elapsed() >= deadline);
        has_passed || started.timer.as_mut().is_some_and(|timer| Pin::new(timer).poll(cx).is_ready())
    }

    /// Starts the next key if a lane is free. Returns whether a key was started.
    fn start_next(&mut self, cx: &mut Context<'_>) -> bool {
        let idle = self.lanes.iter().position(|lane| lane.load.is_none());
        if idle.is_none() && self.lanes.len() >= self.concurrency {
            return false;
        }
        let Some(source) = &mut self.source else { return false };
        let item = match source.poll_item(cx) {
            Poll::Pending => return false,
            Poll::Ready(None) => {
                self.source = None;
                return false;
            }
            Poll::Ready(Some(item)) => item,
        };
        self.report.started += 1;
        // `each` is the user's code, and may panic.
        match catch_unwind(AssertUnwindSafe(|| (self.each)(item))) {
            Ok(load) => {
                let index = idle.unwrap_or_else(|| {
                    self.lanes.push(Lane::new(&self.poller));
                    self.lanes.len() - 1
                });
                self.lanes[index].start(load);
                self.poll_lane(index);
            }
            Err(_) => self.record(Warmed::Panicked),
        }
        true
    }

    fn poll_lane(&mut self, index: usize) {
        if let Some(warmed) = self.lanes[index].poll() {
            self.record(warmed);
        }
    }

    fn record(&mut self, warmed: Warmed) {
        self.report.add(warmed);
        self.report.took = self.elapsed();
        (self.on_progress)(&self.report);
    }

    fn elapsed(&self) -> Duration {
        self.started.as_ref().map(|started| started.at.elapsed()).unwrap_or_default()
    }

    fn finish(&mut self, timed_out: bool) -> WarmReport {
        let unfinished = self.lanes.drain(..).filter(|lane| lane.load.is_some()).count();
        self.report.unfinished = unfinished as u64;
        self.report.timed_out = timed_out;
        self.report.took = self.elapsed();
        self.report
    }
}

impl<S, F, Fut, P> Future for Warming<S, F, Fut, P>
where
    S: WarmSource,
    F: FnMut(S::Item) -> Fut,
    Fut: Future<Output: WarmOutcome>,
    P: FnMut(&WarmReport),
{
    type Output = WarmReport;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WarmReport> {
        let this = &mut *self;
        // The waker is set before the lanes are polled: a load that becomes ready after its poll wakes this
        // task.
        *this.poller.waker() = Some(cx.waker().clone());
        for index in 0..this.lanes.len() {
            this.poll_lane(index);
        }
        for _ in 0..MAX_STARTS_PER_POLL {
            if this.has_timed_out(cx) {
                return Poll::Ready(this.finish(true));
            }
            if this.start_next(cx) {
                continue;
            }
            let is_done = this.source.is_none() && this.lanes.iter().all(|lane| lane.load.is_none());
            return if is_done { Poll::Ready(this.finish(false)) } else { Poll::Pending };
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<Fut: Future<Output: WarmOutcome>> Lane<Fut> {
    fn new(poller: &Arc<Poller>) -> Self {
        let signal = Arc::new(Signal { is_raised: AtomicBool::new(false), poller: poller.clone() });
        Self { load: None, waker: signal.clone().into(), signal }
    }

    fn start(&mut self, load: Fut) {
        self.load = Some(Box::pin(load));
        self.signal.is_raised.store(true, Ordering::Release);
    }

    fn poll(&mut self) -> Option<Warmed> {
        let load = self.load.as_mut()?;
        if !self.signal.is_raised.swap(false, Ordering::AcqRel) {
            return None;
        }
        let mut cx = Context::from_waker(&self.waker);
        let polled = catch_unwind(AssertUnwindSafe(|| load.as_mut().poll(&mut cx)));
        let warmed = match polled {
            Ok(Poll::Pending) => return None,
            Ok(Poll::Ready(outcome)) => outcome.warmed(),
            Err(_) => Warmed::Panicked,
        };
        self.load = None;
        Some(warmed)
    }
}

/// Warms one key by an async call. A panic ends it as it ends the warm-up of a key by a function that is not async.
///
/// The load of a flight catches its own panic. A load for its caller only does not.
pub(crate) async fn catch_panics(warm: impl Future<Output = Warmed>) -> Warmed {
    let mut warm = pin!(warm);
    let mut poll = |cx: &mut Context<'_>| catch_unwind(AssertUnwindSafe(|| warm.as_mut().poll(cx)));
    poll_fn(|cx| poll(cx).unwrap_or(Poll::Ready(Warmed::Panicked))).await
}

impl<S, F, Fut, P> fmt::Debug for Warming<S, F, Fut, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warming").field("report", &self.report).finish_non_exhaustive()
    }
}
