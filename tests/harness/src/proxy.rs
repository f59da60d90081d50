//! A TCP proxy that misbehaves on request.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use socket2::SockRef;

use crate::{
    frames::Frames,
    port::Port,
    requests::{Lack, Requests},
};

/// What a [`Proxy`] does with connections, both those it has and those to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forwards everything.
    Pass,
    /// Forwards everything, each chunk of an answer this much later.
    Delay(Duration),
    /// Forwards everything, each chunk of an answer later by a random time between these two.
    Jitter(Duration, Duration),
    /// Forwards everything, no more than so many bytes of answers in a second, over all connections together.
    Rate(u32),
    /// Forwards everything, answers in pieces of so many bytes.
    Pieces(usize),
    /// Forwards everything but the pushes of RESP3, in which a server tells what nobody has asked for. A push that has
    /// begun when this mode begins is dropped from there on, which a client cannot understand.
    DropPushes,
    /// The server tracks nothing while `NOLOOP` is on, as Dragonfly.
    DeafUnderNoLoop,
    /// The server tracks nothing that a script reads.
    DeafInScripts,
    /// Each script is refused as one that writes after it has asked for the time, before Redis 5.
    OldScripts,
    /// Accepts and reads, and never answers. A connection that was open in this mode stays mute for ever, as
    /// after the loss of a router's state; only connections opened later are answered again.
    Swallow,
    /// Closes what is open and does not listen.
    Refuse,
    /// Resets what is open, and new connections as soon as they send something.
    Reset,
    /// Answers a client that greets (`HELLO`) with these bytes, or not at all if there are none, and closes its connection; all
    /// else is forwarded. So does a proxy that does not know RESP3, and a server that refuses for a while.
    Greet(&'static [u8]),
    /// Cuts the next answer of each connection after this many bytes and closes the connection.
    Truncate(usize),
    /// Cuts the next answer of each connection after this many bytes and resets the connection.
    Tear(usize),
}

impl Mode {
    /// How much later this chunk of an answer is forwarded.
    fn delay(self, random: &mut u32) -> Duration {
        match self {
            Self::Delay(delay) => delay,
            Self::Jitter(least, most) => {
                // A linear congruential generator; its high bits are the good ones.
                *random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                least + most.saturating_sub(least) * (*random >> 16) / 0xffff
            }
            _ => Duration::ZERO,
        }
    }

    fn lack(self) -> Option<Lack> {
        match self {
            Self::DeafUnderNoLoop => Some(Lack::NoLoop),
            Self::DeafInScripts => Some(Lack::Scripts),
            Self::OldScripts => Some(Lack::Writes),
            _ => None,
        }
    }

    /// What of an answer is forwarded at once, and whether the connection ends after it.
    fn cut(self, answer: &[u8]) -> (&[u8], bool) {
        match self {
            Self::Truncate(length) | Self::Tear(length) => (&answer[..length.min(answer.len())], true),
            _ => (answer, false),
        }
    }
}

/// Between two pieces, so that they arrive one by one.
const PIECES_APART: Duration = Duration::from_micros(50);

/// So many chunks of a connection's answers may be under way.
const UNDER_WAY: usize = 256;

/// A TCP proxy on 127.0.0.1 in front of a port, with faults that can be switched at any time, and counters.
///
/// Dropping it closes its port and all its connections.
#[derive(Debug)]
pub struct Proxy {
    port: Port,
    inner: Arc<Inner>,
}

impl Proxy {
    /// Starts a proxy in front of 127.0.0.1:`upstream`, in [`Mode::Pass`].
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn start(upstream: u16) -> Self {
        let (port, listener) = listen_anywhere();
        let inner = Arc::new(Inner {
            upstream: AtomicU16::new(upstream),
            gate: Mutex::new(Gate { mode: Mode::Pass, listener: Some(listener), links: Vec::new() }),
            closed: AtomicBool::new(false),
            free_from: Mutex::new(Instant::now()),
            counts: Counts::default(),
        });
        let acceptor = Arc::clone(&inner);
        thread::spawn(move || acceptor.accept());
        Self { port, inner }
    }

    /// The address of the proxy: `redis://127.0.0.1:port/`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port())
    }

    /// The port of the proxy, the same for its whole life.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Switches the fault. It holds for every connection when this returns.
    ///
    /// # Panics
    /// When the port was taken by someone else while the proxy [refused](Mode::Refuse).
    pub fn set_mode(&self, mode: Mode) {
        let mut gate = self.inner.gate();
        gate.mode = mode;
        gate.links.retain(|link| link.strong_count() > 0);
        let links: Vec<_> = gate.links.iter().filter_map(Weak::upgrade).collect();
        match mode {
            Mode::Swallow => links.iter().for_each(|link| link.mute.store(true, Ordering::SeqCst)),
            Mode::Refuse => links.iter().for_each(|link| link.close()),
            Mode::Reset => links.iter().for_each(|link| link.reset()),
            _ => {}
        }
        if mode == Mode::Refuse {
            gate.listener = None;
        } else if gate.listener.is_none() {
            gate.listener = Some(listen(self.port()).expect("taking the proxy's port back"));
        }
    }

    /// Connections accepted from now on go to 127.0.0.1:`upstream`; the open ones stay where they are, as
    /// those of a client do when a name comes to mean another machine.
    pub fn set_upstream(&self, upstream: u16) {
        self.inner.upstream.store(upstream, Ordering::SeqCst);
    }

    /// Has these bytes forwarded to each client that is connected, between two frames of what its server sends, as soon as it
    /// sends something.
    pub fn inject(&self, bytes: &[u8]) {
        let links: Vec<_> = self.inner.gate().links.iter().filter_map(Weak::upgrade).collect();
        for link in links {
            lock(&link.injected).extend_from_slice(bytes);
        }
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.inner.counts.connections.load(Ordering::SeqCst)
    }

    /// How many bytes clients sent so far, swallowed ones included.
    pub fn bytes_sent(&self) -> u64 {
        self.inner.counts.sent.load(Ordering::SeqCst)
    }

    /// How many bytes of answers were forwarded so far.
    pub fn bytes_answered(&self) -> u64 {
        self.inner.counts.answered.load(Ordering::SeqCst)
    }

    /// How many pieces of answers were forwarded so far, in [`Mode::Pieces`].
    pub fn pieces(&self) -> usize {
        self.inner.counts.pieces.load(Ordering::SeqCst)
    }

    /// Takes what was recorded: for each round trip, all that a client sent before something was answered.
    pub fn take_round_trips(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut lock(&self.inner.counts.round_trips))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.inner.closed.store(true, Ordering::SeqCst);
        let mut gate = self.inner.gate();
        gate.listener = None;
        gate.links.iter().filter_map(Weak::upgrade).for_each(|link| link.close());
    }
}

#[derive(Debug)]
struct Inner {
    upstream: AtomicU16,
    gate: Mutex<Gate>,
    closed: AtomicBool,
    /// When what has a [`Mode::Rate`] has carried all that it was given.
    free_from: Mutex<Instant>,
    counts: Counts,
}

#[derive(Debug)]
struct Gate {
    mode: Mode,
    listener: Option<TcpListener>,
    links: Vec<Weak<Link>>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicUsize,
    sent: AtomicU64,
    answered: AtomicU64,
    pieces: AtomicUsize,
    round_trips: Mutex<Vec<Vec<u8>>>,
}

impl Inner {
    fn gate(&self) -> MutexGuard<'_, Gate> {
        lock(&self.gate)
    }

    fn mode(&self) -> Mode {
        self.gate().mode
    }

    /// Waits until these bytes have been carried at this rate, after all that were given before.
    fn carry(&self, bytes: usize, rate: u32) {
        /// A thread that wakes up late makes up for it.
        const LATE: Duration = Duration::from_millis(5);

        let until = {
            let mut free_from = lock(&self.free_from);
            let now = Instant::now();
            let begin = (*free_from).max(now.checked_sub(LATE).unwrap_or(now));
            *free_from = begin + Duration::from_secs(bytes as u64) / rate.max(1);
            *free_from
        };
        thread::sleep(until.saturating_duration_since(Instant::now()));
    }

    fn accept(self: &Arc<Self>) {
        while !self.closed.load(Ordering::SeqCst) {
            if !self.accept_one() {
                // The listener does not block, so that switching to `Refuse` can close it at once.
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Accepts a connection if there is one.
    fn accept_one(self: &Arc<Self>) -> bool {
        let mut gate = self.gate();
        let Some(Ok((client, _))) = gate.listener.as_ref().map(TcpListener::accept) else {
            return false;
        };
        let Ok(upstream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream.load(Ordering::SeqCst)))
        else {
            // There is nobody behind the proxy: the client sees its connection closed.
            return true;
        };
        self.counts.connections.fetch_add(1, Ordering::SeqCst);
        for stream in [&client, &upstream] {
            stream.set_nonblocking(false).expect("making a connection block");
            stream.set_nodelay(true).expect("setting TCP_NODELAY");
        }
        let mute = AtomicBool::new(gate.mode == Mode::Swallow);
        let (reset, answered) = (AtomicBool::new(false), AtomicBool::new(true));
        let injected = Mutex::default();
        let link = Arc::new(Link { client, upstream, mute, reset, answered, injected });
        gate.links.push(Arc::downgrade(&link));

        let (proxy, other) = (Arc::clone(self), Arc::clone(&link));
        thread::spawn(move || other.pump_requests(&proxy));
        let (answers, under_way) = sync_channel(UNDER_WAY);
        let (proxy, other) = (Arc::clone(self), Arc::clone(&link));
        thread::spawn(move || other.pump_answers(&proxy, &answers));
        let proxy = Arc::clone(self);
        thread::spawn(move || link.forward_answers(&proxy, &under_way));
        true
    }
}

/// A part of what a server has sent.
struct Answer {
    /// When it is forwarded.
    due: Instant,
    /// As it came.
    mode: Mode,
    chunk: Vec<u8>,
}

/// A connection of a client and the one behind it. The sockets close when all threads have let go of it.
#[derive(Debug)]
struct Link {
    client: TcpStream,
    upstream: TcpStream,
    /// Nothing is forwarded any more, in either direction.
    mute: AtomicBool,
    /// The client is about to see a reset, so it must not see an orderly end before.
    reset: AtomicBool,
    /// Whether something was answered since the client last sent something: then what it sends next begins
    /// another round trip.
    answered: AtomicBool,
    /// What is to be forwarded to the client although its server has not sent it.
    injected: Mutex<Vec<u8>>,
}

impl Link {
    fn pump_requests(&self, proxy: &Inner) {
        let mut buffer = vec![0; 64 * 1024];
        // Followed in every mode, as the answers are.
        let mut requests = Requests::default();
        while let Some(chunk) = read(&self.client, &mut buffer) {
            self.count_request(&proxy.counts, chunk);
            let mode = proxy.mode();
            match mode {
                Mode::Reset => return self.reset(),
                Mode::Greet(answer) if chunk.windows(5).any(|word| word == b"HELLO") => {
                    let _ = (&self.client).write_all(answer);
                    self.close();
                    break;
                }
                _ => {}
            }
            let request = requests.edit(chunk, mode.lack());
            if !self.mute.load(Ordering::SeqCst) && (&self.upstream).write_all(&request).is_err() {
                break;
            }
        }
        // Also ends the other threads.
        let _ = self.upstream.shutdown(Shutdown::Both);
    }

    /// Takes what the server sends, and says when each chunk is to be forwarded. A delay is that of a network: what comes meanwhile
    /// is under way at the same time.
    fn pump_answers(&self, proxy: &Inner, answers: &SyncSender<Answer>) {
        let mut buffer = vec![0; 64 * 1024];
        let mut random = u32::from(self.client.peer_addr().map_or(0, |address| address.port()));
        while let Some(chunk) = read(&self.upstream, &mut buffer) {
            let mode = proxy.mode();
            let due = Instant::now() + mode.delay(&mut random);
            if let Mode::Rate(rate) = mode {
                proxy.carry(chunk.len(), rate);
            }
            if answers.send(Answer { due, mode, chunk: chunk.to_vec() }).is_err() {
                break;
            }
        }
    }

    fn forward_answers(&self, proxy: &Inner, answers: &Receiver<Answer>) {
        // Followed in every mode: when one begins, it must be known where frames do.
        let mut frames = Frames::default();
        for Answer { due, mode, chunk } in answers {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if self.mute.load(Ordering::SeqCst) {
                continue;
            }
            let answer = self.edit(&chunk, &mut frames, mode == Mode::DropPushes);
            if answer.is_empty() {
                continue;
            }
            let (answer, is_last) = mode.cut(&answer);
            // Before the client can see it, or its next request might be counted first.
            self.answered.store(true, Ordering::SeqCst);
            proxy.counts.answered.fetch_add(answer.len() as u64, Ordering::SeqCst);
            if self.answer(answer, mode, &proxy.counts).is_err() {
                break;
            }
            if is_last {
                if matches!(mode, Mode::Tear(_)) {
                    self.reset();
                }
                break;
            }
        }
        if !self.mute.load(Ordering::SeqCst) && !self.reset.load(Ordering::SeqCst) {
            self.close();
        }
    }

    /// The chunk with what is injected, and without pushes if they are dropped.
    fn edit(&self, mut chunk: &[u8], frames: &mut Frames, drops_pushes: bool) -> Vec<u8> {
        let mut injected = lock(&self.injected);
        let mut edited = Vec::with_capacity(chunk.len() + injected.len());
        while !chunk.is_empty() {
            if frames.is_between() {
                edited.append(&mut injected);
            }
            let (length, is_push) = frames.take(chunk);
            if !(is_push && drops_pushes) {
                edited.extend_from_slice(&chunk[..length]);
            }
            chunk = &chunk[length..];
        }
        edited
    }

    fn answer(&self, answer: &[u8], mode: Mode, counts: &Counts) -> std::io::Result<()> {
        let Mode::Pieces(length) = mode else { return (&self.client).write_all(answer) };
        for piece in answer.chunks(length.max(1)) {
            (&self.client).write_all(piece)?;
            counts.pieces.fetch_add(1, Ordering::SeqCst);
            thread::sleep(PIECES_APART);
        }
        Ok(())
    }

    fn count_request(&self, counts: &Counts, chunk: &[u8]) {
        counts.sent.fetch_add(chunk.len() as u64, Ordering::SeqCst);
        let begins = self.answered.swap(false, Ordering::SeqCst);
        let mut round_trips = lock(&counts.round_trips);
        match round_trips.last_mut() {
            Some(last) if !begins => last.extend_from_slice(chunk),
            _ => round_trips.push(chunk.to_vec()),
        }
    }

    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.upstream.shutdown(Shutdown::Both);
    }

    /// Makes the client see a reset: a socket that does not linger sends one when it is closed. Shutting down
    /// only the reading side wakes the thread that reads, and tells the client nothing yet.
    fn reset(&self) {
        self.reset.store(true, Ordering::SeqCst);
        let _ = SockRef::from(&self.client).set_linger(Some(Duration::ZERO));
        let _ = self.client.shutdown(Shutdown::Read);
        let _ = self.upstream.shutdown(Shutdown::Both);
    }
}

/// The next bytes, or nothing at the end or after an error.
fn read<'a>(mut stream: &TcpStream, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    loop {
        match stream.read(buffer) {
            Ok(0) => return None,
            Ok(length) => return Some(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn listen_anywhere() -> (Port, TcpListener) {
    loop {
        // A program that reserves nothing may take the port between the two steps.
        let port = Port::reserve();
        if let Ok(listener) = listen(port.number()) {
            return (port, listener);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
