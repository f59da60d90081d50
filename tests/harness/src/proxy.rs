//! TCP proxy with faults that are switched on request.

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
    requests::{MissingCapability, Requests},
};

/// Behaviour of a [`Proxy`] towards its connections, both open and future ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forwards everything.
    Pass,
    /// Forwards everything, each chunk of a reply after this delay.
    Delay(Duration),
    /// Forwards everything, each chunk of a reply after a random delay between these two.
    Jitter(Duration, Duration),
    /// Forwards everything, with at most this many bytes of replies per second.
    ///
    /// The limit applies to all connections together.
    Rate(u32),
    /// Forwards everything, replies in pieces of this many bytes.
    Pieces(usize),
    /// Forwards everything but the pushes of RESP3, which a server sends without a request.
    ///
    /// A push that began before this mode is cut at this point, which a client cannot parse.
    DropPushes,
    /// Makes the server track nothing while `NOLOOP` is on, as Dragonfly does.
    UntrackedUnderNoLoop,
    /// Makes the server track nothing that a script reads.
    UntrackedInScripts,
    /// Rejects each script, as a server that is too old does.
    ///
    /// Before Redis 5, servers reject a script that reads the time and then writes.
    OldScripts,
    /// Accepts connections and reads from them, but never replies.
    ///
    /// A connection that was open in this mode stays mute for ever, as after the loss of a router's state.
    /// Only connections opened after this mode get replies again.
    Swallow,
    /// Closes all connections and does not listen.
    Refuse,
    /// Resets open connections, and new ones as soon as they send something.
    Reset,
    /// Replies to `HELLO` with these bytes, and closes the connection.
    ///
    /// Without bytes, it closes the connection without a reply. Everything else is forwarded. A proxy without
    /// RESP3 behaves in this way, and so does a server that refuses for a while.
    Greet(&'static [u8]),
    /// Cuts the next reply of each connection after this many bytes, and closes the connection.
    Truncate(usize),
    /// Cuts the next reply of each connection after this many bytes, and resets the connection.
    Tear(usize),
}

impl Mode {
    /// Returns the delay of this chunk of a reply.
    fn delay(self, random: &mut u32) -> Duration {
        match self {
            Self::Delay(delay) => delay,
            Self::Jitter(least, most) => {
                // Linear congruential generator, of which only the high bits are random enough.
                *random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                least + most.saturating_sub(least) * (*random >> 16) / 0xffff
            }
            _ => Duration::ZERO,
        }
    }

    fn missing_capability(self) -> Option<MissingCapability> {
        match self {
            Self::UntrackedUnderNoLoop => Some(MissingCapability::NoLoop),
            Self::UntrackedInScripts => Some(MissingCapability::Scripts),
            Self::OldScripts => Some(MissingCapability::Writes),
            _ => None,
        }
    }

    /// Returns the part of a reply that is forwarded, and whether the connection ends after it.
    fn cut(self, answer: &[u8]) -> (&[u8], bool) {
        match self {
            Self::Truncate(length) | Self::Tear(length) => (&answer[..length.min(answer.len())], true),
            _ => (answer, false),
        }
    }
}

/// Pause between two pieces, so that they arrive one by one.
const PIECE_PAUSE: Duration = Duration::from_micros(50);

/// Maximum number of chunks of replies in transit, per connection.
const MAX_IN_TRANSIT: usize = 256;

/// TCP proxy on 127.0.0.1 in front of a port, with faults and counters.
///
/// The faults can be switched at any time.
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
    /// Panics if there is no free port.
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

    /// Returns the URL of the proxy: `redis://127.0.0.1:port/`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port())
    }

    /// Returns the port of the proxy, which is the same for its whole life.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Switches the mode. It applies to every connection once this returns.
    ///
    /// # Panics
    /// Panics if another process took the port while the proxy [refused](Mode::Refuse) connections.
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
            gate.stop_listening();
        } else if gate.listener.is_none() {
            gate.listener = Some(listen(self.port()).expect("taking the proxy's port back"));
        }
    }

    /// Directs later connections to 127.0.0.1:`upstream`.
    ///
    /// Open connections stay where they are, as after a change of a name in DNS.
    pub fn set_upstream(&self, upstream: u16) {
        self.inner.upstream.store(upstream, Ordering::SeqCst);
    }

    /// Forwards these bytes to each connected client, between two frames of its server.
    ///
    /// They are forwarded as soon as the server sends something.
    pub fn inject(&self, bytes: &[u8]) {
        let links: Vec<_> = self.inner.gate().links.iter().filter_map(Weak::upgrade).collect();
        for link in links {
            lock(&link.injected).extend_from_slice(bytes);
        }
    }

    /// Returns the number of connections accepted so far.
    pub fn connections(&self) -> usize {
        self.inner.counts.connections.load(Ordering::SeqCst)
    }

    /// Returns the number of bytes that clients sent so far, including swallowed ones.
    pub fn bytes_sent(&self) -> u64 {
        self.inner.counts.sent.load(Ordering::SeqCst)
    }

    /// Returns the number of bytes of replies forwarded so far.
    pub fn bytes_answered(&self) -> u64 {
        self.inner.counts.answered.load(Ordering::SeqCst)
    }

    /// Returns the number of pieces of replies forwarded so far, in [`Mode::Pieces`].
    pub fn pieces(&self) -> usize {
        self.inner.counts.pieces.load(Ordering::SeqCst)
    }

    /// Takes the recorded round trips.
    ///
    /// Each consists of all bytes that a client sent before a reply.
    pub fn take_round_trips(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut lock(&self.inner.counts.round_trips))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.inner.closed.store(true, Ordering::SeqCst);
        let mut gate = self.inner.gate();
        gate.stop_listening();
        gate.links.iter().filter_map(Weak::upgrade).for_each(|link| link.close());
    }
}

#[derive(Debug)]
struct Inner {
    upstream: AtomicU16,
    gate: Mutex<Gate>,
    closed: AtomicBool,
    /// Time at which the link with a [`Mode::Rate`] has carried all bytes given to it.
    free_from: Mutex<Instant>,
    counts: Counts,
}

#[derive(Debug)]
struct Gate {
    mode: Mode,
    listener: Option<TcpListener>,
    links: Vec<Weak<Link>>,
}

impl Gate {
    /// Closes the listener, so that the system refuses the next connection.
    ///
    /// While another thread starts a program, the new process has a copy of each socket of this one. A listener
    /// that was only closed goes on to listen through the copy, so it is shut down first.
    fn stop_listening(&mut self) {
        if let Some(listener) = self.listener.take() {
            // Not every system can shut a listener down: those that cannot, report an error.
            let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
        }
    }
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

    /// Waits until these bytes have been carried at this rate, after all bytes given before.
    fn throttle(&self, bytes: usize, rate: u32) {
        /// Delay that a thread makes up for if it wakes up late.
        const CATCH_UP: Duration = Duration::from_millis(5);

        let until = {
            let mut free_from = lock(&self.free_from);
            let now = Instant::now();
            let begin = (*free_from).max(now.checked_sub(CATCH_UP).unwrap_or(now));
            *free_from = begin + Duration::from_secs(bytes as u64) / rate.max(1);
            *free_from
        };
        thread::sleep(until.saturating_duration_since(Instant::now()));
    }

    fn accept(self: &Arc<Self>) {
        while !self.closed.load(Ordering::SeqCst) {
            if !self.accept_one() {
                // The listener does not block, so that a switch to `Refuse` can close it at once.
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Accepts a connection, and returns whether there was one.
    fn accept_one(self: &Arc<Self>) -> bool {
        let mut gate = self.gate();
        let Some(Ok((client, _))) = gate.listener.as_ref().map(TcpListener::accept) else {
            return false;
        };
        let Ok(upstream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream.load(Ordering::SeqCst)))
        else {
            // No server listens behind the proxy: the client sees its connection closed.
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
        let (answers, scheduled) = sync_channel(MAX_IN_TRANSIT);
        let (proxy, other) = (Arc::clone(self), Arc::clone(&link));
        thread::spawn(move || other.pump_answers(&proxy, &answers));
        let proxy = Arc::clone(self);
        thread::spawn(move || link.forward_answers(&proxy, &scheduled));
        true
    }
}

/// Part of the data that a server has sent.
struct Answer {
    /// Time at which the chunk is forwarded.
    due: Instant,
    /// Mode at the time of its arrival.
    mode: Mode,
    chunk: Vec<u8>,
}

/// Connection of a client and its upstream connection.
///
/// The sockets close when all threads have dropped the link.
#[derive(Debug)]
struct Link {
    client: TcpStream,
    upstream: TcpStream,
    /// Set when nothing more is forwarded, in either direction.
    mute: AtomicBool,
    /// Set before the client sees a reset, so that it does not see an orderly end first.
    reset: AtomicBool,
    /// Set if a reply was forwarded since the client's last request, so that the next request begins a new
    /// round trip.
    answered: AtomicBool,
    /// Bytes to be forwarded to the client although its server did not send them.
    injected: Mutex<Vec<u8>>,
}

impl Link {
    fn pump_requests(&self, proxy: &Inner) {
        let mut buffer = vec![0; 64 * 1024];
        // Parsed in every mode, as the replies are.
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
            let request = requests.edit(chunk, mode.missing_capability());
            if !self.mute.load(Ordering::SeqCst) && (&self.upstream).write_all(&request).is_err() {
                break;
            }
        }
        // This also ends the other threads.
        let _ = self.upstream.shutdown(Shutdown::Both);
    }

    /// Reads from the server, and schedules each chunk.
    ///
    /// The delay is that of a network: chunks that arrive in the meantime are in transit at the same time.
    fn pump_answers(&self, proxy: &Inner, answers: &SyncSender<Answer>) {
        let mut buffer = vec![0; 64 * 1024];
        let mut random = u32::from(self.client.peer_addr().map_or(0, |address| address.port()));
        while let Some(chunk) = read(&self.upstream, &mut buffer) {
            let mode = proxy.mode();
            let due = Instant::now() + mode.delay(&mut random);
            if let Mode::Rate(rate) = mode {
                proxy.throttle(chunk.len(), rate);
            }
            if answers.send(Answer { due, mode, chunk: chunk.to_vec() }).is_err() {
                break;
            }
        }
    }

    fn forward_answers(&self, proxy: &Inner, answers: &Receiver<Answer>) {
        // Parsed in every mode: when a mode begins, the frame boundaries must be known.
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
            // Set before the client can see the reply, or its next request might be counted first.
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

    /// Returns the chunk with the injected bytes, and without pushes if they are dropped.
    fn edit(&self, mut chunk: &[u8], frames: &mut Frames, drops_pushes: bool) -> Vec<u8> {
        let mut injected = lock(&self.injected);
        let mut edited = Vec::with_capacity(chunk.len() + injected.len());
        while !chunk.is_empty() {
            if frames.is_at_boundary() {
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
            thread::sleep(PIECE_PAUSE);
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

    /// Makes the client see a reset.
    ///
    /// A socket with a linger time of zero sends a reset when it is closed. A shutdown of the reading side
    /// alone wakes the reading thread, and the client does not notice it yet.
    fn reset(&self) {
        self.reset.store(true, Ordering::SeqCst);
        let _ = SockRef::from(&self.client).set_linger(Some(Duration::ZERO));
        let _ = self.client.shutdown(Shutdown::Read);
        let _ = self.upstream.shutdown(Shutdown::Both);
    }
}

/// Returns the next bytes, or `None` at the end or after an error.
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
        // A program that does not reserve ports may take this one between the two steps.
        let port = Port::reserve();
        if let Ok(listener) = listen(port.number()) {
            return (port, listener);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn connect(proxy: &Proxy) -> std::io::Result<TcpStream> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port()))
    }

    /// Copies the socket, as a process does that another thread starts.
    fn copy_listener(proxy: &Proxy) -> TcpListener {
        proxy.inner.gate().listener.as_ref().unwrap().try_clone().unwrap()
    }

    #[test]
    fn connection_is_refused_while_a_new_process_has_a_copy_of_the_listener() {
        let server = listen_anywhere();
        let proxy = Proxy::start(server.0.number());
        let copy = copy_listener(&proxy);
        proxy.set_mode(Mode::Refuse);
        assert_eq!(connect(&proxy).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        proxy.set_mode(Mode::Pass);
        assert!(connect(&proxy).is_ok());
        drop(copy);
    }

    #[test]
    fn dropped_proxy_refuses_while_a_new_process_has_a_copy_of_the_listener() {
        let proxy = Proxy::start(1);
        let (copy, port) = (copy_listener(&proxy), proxy.port());
        drop(proxy);
        let error = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        drop(copy);
    }
}
