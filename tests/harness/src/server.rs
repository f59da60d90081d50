//! A `redis-server` process.

use std::{
    env,
    ffi::OsString,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::{cli, port::Port, wait::PATIENCE};

/// Environment variable with the path of another server program, such as another version.
const BINARY: &str = "CACHED_ASIDE_REDIS_SERVER";

const MISSING: &str = "redis-server is not installed, and these tests need it. Install it with one of\n  \
     sudo apt-get install redis-server\n  sudo dnf install redis\n  brew install redis\nor run tests/run.sh";

/// Placeholder in the options for the port of the cluster bus, which depends on the server's own port.
pub(crate) const BUS_PORT: &str = "{bus}";

/// Option of a server in a cluster.
pub(crate) const CLUSTER: &str = "--cluster-enabled";

/// File system in memory, where one exists.
const MEMORY: &str = "/dev/shm";

/// Distance of the bus port from the server's own port, unless the bus port is given.
const BUS_DISTANCE: u16 = 10_000;

/// Number of ports to try when other processes keep taking them.
const ATTEMPTS: usize = 20;

/// A `redis-server` for one test.
///
/// It listens on 127.0.0.1, has its own directory, and persists nothing.
///
/// Dropping it kills and reaps the process and removes the directory.
#[derive(Debug)]
pub struct RedisServer {
    port: Port,
    /// Second port, on which the server expects TLS.
    tls_port: Option<Port>,
    /// Bus port, if one of the options names it.
    bus: Option<Port>,
    directory: PathBuf,
    /// Configuration of a sentinel until it is written to its file; `None` for a server.
    sentinel: Option<String>,
    options: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server on a free port, and returns when it answers.
    ///
    /// # Panics
    /// Panics if `redis-server` is not installed (the message explains how to install it) or does not answer.
    /// The environment variable `CACHED_ASIDE_REDIS_SERVER` may name another program.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more command line options, such as `["--maxmemory", "1mb"]`.
    ///
    /// A server that requires a password counts as started when it replies `NOAUTH`.
    ///
    /// # Panics
    /// See [`start`](Self::start).
    #[must_use]
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_on(options, None, false, None)
    }

    /// Starts a server of a cluster, with a reserved bus port if possible.
    ///
    /// Before Redis 7, the bus port has a fixed distance from the first port.
    pub(crate) fn start_in_cluster(options: &[&str]) -> Self {
        let bus = (Self::major_version() >= 7).then(Port::reserve);
        let number = bus.iter().map(|bus| bus.number().to_string()).collect::<Vec<_>>();
        let bus_option = number.iter().flat_map(|number| ["--cluster-port", number]);
        let options: Vec<_> =
            [CLUSTER, "yes"].into_iter().chain(bus_option).chain(options.iter().copied()).collect();
        Self::start_on(&options, None, false, bus)
    }

    /// Starts a server with a second port for TLS; the options name the certificates.
    ///
    /// The first port stays without TLS, for [`cli`](Self::cli).
    ///
    /// # Panics
    /// See [`start`](Self::start).
    #[must_use]
    pub fn start_with_tls(options: &[&str]) -> Self {
        Self::start_on(options, None, true, None)
    }

    /// Starts a sentinel with this configuration.
    ///
    /// The configuration need not name an address to listen on. The sentinel keeps its learned state when it
    /// is [restarted](Self::restart). If there are options, they name certificates, and the sentinel has a
    /// second port for TLS.
    ///
    /// # Panics
    /// See [`start`](Self::start).
    #[must_use]
    pub fn start_sentinel(configuration: &str, options: &[&str]) -> Self {
        Self::start_on(&[options, &["--sentinel"]].concat(), Some(configuration), !options.is_empty(), None)
    }

    fn start_on(options: &[&str], sentinel: Option<&str>, with_tls: bool, bus: Option<Port>) -> Self {
        let ports = || (Port::reserve(), with_tls.then(Port::reserve));
        let (port, tls_port) = ports();
        let directory = directory(options.contains(&CLUSTER));
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let sentinel = sentinel.map(str::to_owned);
        let mut server = Self { port, tls_port, bus, directory, sentinel, options, child: None };
        for _ in 0..ATTEMPTS {
            if server.launch() {
                return server;
            }
            // A program that does not reserve ports was faster.
            (server.port, server.tls_port) = ports();
        }
        panic!("redis-server did not start on any of {ATTEMPTS} ports; its log: {}", server.log());
    }

    /// Returns the major version of the started servers, such as 7.
    ///
    /// The versions of Valkey began with 7.
    ///
    /// # Panics
    /// Panics if the program cannot be run or does not print its version.
    pub fn major_version() -> u32 {
        static VERSION: LazyLock<u32> = LazyLock::new(|| {
            let stdout = Command::new(binary()).arg("--version").output().expect(MISSING).stdout;
            let text = String::from_utf8_lossy(&stdout).into_owned();
            let version = text.split_once("v=").and_then(|(_, rest)| rest.split_once('.'));
            version.and_then(|(major, _)| major.parse().ok()).expect("a server says its version")
        });
        *VERSION
    }

    /// Returns the URL without a password: `redis://127.0.0.1:port/`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port())
    }

    /// Returns the TCP port, which is the same for the whole life of this value.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns whether the process has been started and not ended since.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Returns the port over which the servers of a cluster communicate.
    pub(crate) fn bus_port(&self) -> u16 {
        self.bus.as_ref().map_or(self.port() + BUS_DISTANCE, Port::number)
    }

    /// Returns the port for TLS, which is the same for the whole life of this value.
    ///
    /// # Panics
    /// Panics if the server was not [started](Self::start_with_tls) with one.
    pub fn tls_port(&self) -> u16 {
        self.tls_port.as_ref().expect("the server was started with TLS").number()
    }

    /// Sends one command, and returns the reply as text.
    ///
    /// The text is `(nil)` for nil, and has a line per element for an array.
    ///
    /// # Panics
    /// Panics if the reply is an error, or does not arrive within [`PATIENCE`](crate::PATIENCE).
    pub fn cli(&self, args: &[&str]) -> String {
        self.cli_unless_disconnected(args)
            .unwrap_or_else(|| panic!("redis-cli {args:?}: the server closed the connection"))
    }

    /// Sends one command, and returns `None` if the server closed the connection.
    ///
    /// Otherwise, it returns the same as [`cli`](Self::cli). When a Sentinel changes the role of a server,
    /// the server closes all client connections at that moment.
    ///
    /// # Panics
    /// Panics like [`cli`](Self::cli) in all other cases.
    pub fn cli_unless_disconnected(&self, args: &[&str]) -> Option<String> {
        match cli::run(&self.url(), args) {
            Ok(answer) => Some(answer),
            Err(error) if error.is_connection_dropped() => None,
            Err(error) => panic!("redis-cli {args:?}: {error}"),
        }
    }

    /// Asks the server to end (SIGTERM), and waits until it has.
    ///
    /// Does nothing if the server does not run.
    ///
    /// # Panics
    /// Panics if the server does not end in time.
    pub fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    /// Ends the server at once (SIGKILL), and waits until it is gone.
    ///
    /// Does nothing if the server does not run.
    ///
    /// # Panics
    /// Panics if the server does not end in time.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Stops the server if it runs, and starts an empty one on the same port.
    ///
    /// # Panics
    /// Panics if the server does not start.
    pub fn restart(&mut self) {
        self.stop();
        for _ in 0..ATTEMPTS {
            if self.launch() {
                return;
            }
        }
        panic!("redis-server did not start on port {} again; its log: {}", self.port(), self.log());
    }

    /// Suspends the process (SIGSTOP): its sockets stay open, but it does not answer.
    ///
    /// Returns once the process is suspended.
    ///
    /// # Panics
    /// Panics if the server does not run.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        waitpid(Some(self.pid()), WaitOptions::UNTRACED).expect("waiting for redis-server to stand still");
    }

    /// Resumes a [frozen](Self::freeze) process.
    ///
    /// # Panics
    /// Panics if the server does not run.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Starts the process; returns `false` if it ended before it answered, as when its port is taken.
    fn launch(&mut self) -> bool {
        let mut command = Command::new(binary());
        if let Some(configuration) = self.sentinel.take() {
            // The sentinel writes to this file as well.
            fs::write(self.configuration(), configuration).expect("writing the configuration of a sentinel");
        }
        if self.configuration().exists() {
            command.arg(self.configuration());
        } else {
            command.args(["--save", "", "--appendonly", "no"]);
        }
        let bus = (self.port() + BUS_DISTANCE).to_string();
        let spawned = command
            .args(["--bind", "127.0.0.1", "--port", &self.port().to_string()])
            .args(["--daemonize", "no", "--logfile", "redis.log"])
            .arg("--dir")
            .arg(&self.directory)
            .args(self.tls_port.iter().flat_map(|port| ["--tls-port".to_owned(), port.number().to_string()]))
            .args(self.options.iter().map(|option| if option == BUS_PORT { &bus } else { option }))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => panic!("{MISSING}"),
            Err(error) => panic!("starting redis-server: {error}"),
        });

        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.answers() {
                return true;
            }
            let child = self.child.as_mut().expect("started above");
            if child.try_wait().expect("asking for the state of redis-server").is_some() {
                self.child = None;
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("redis-server did not answer on port {} within {PATIENCE:?}: {}", self.port(), self.log());
    }

    /// Returns whether this process answers, and not another one that took the port first.
    fn answers(&self) -> bool {
        match cli::run(&self.url(), &["INFO", "server"]) {
            Ok(info) => {
                let pid = format!("process_id:{}", self.pid().as_raw_nonzero());
                info.lines().any(|line| line.trim_end() == pid)
            }
            Err(error) => error.code() == Some("NOAUTH"),
        }
    }

    fn end(&mut self, signal: Signal) {
        if self.child.is_none() {
            return;
        }
        self.signal(signal);
        // A suspended process handles SIGTERM only once it is resumed.
        self.signal(Signal::CONT);
        let mut child = self.child.take().expect("checked above");
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().expect("waiting for redis-server to end").is_none() {
            assert!(Instant::now() < deadline, "redis-server did not end within {PATIENCE:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("redis-server does not run"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("signalling redis-server");
    }

    fn configuration(&self) -> PathBuf {
        self.directory.join("sentinel.conf")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("redis.log")).unwrap_or_default()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // A panic here, while a failed test unwinds, would hide the cause of the failure.
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Returns the server program.
fn binary() -> OsString {
    env::var_os(BINARY).unwrap_or_else(|| "redis-server".into())
}

/// Creates a directory for one server, in memory if possible for a server of a cluster.
///
/// A server of a cluster answers no client until each change of its map is on disk. That write waits for all
/// other writes in progress: a third of a second while a program is linked.
fn directory(is_of_cluster: bool) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("cached-aside-redis-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    // Another server program may see other file systems.
    let is_in_memory = is_of_cluster && env::var_os(BINARY).is_none() && Path::new(MEMORY).is_dir();
    let root = if is_in_memory { PathBuf::from(MEMORY) } else { env::temp_dir() };
    let path = root.join(name);
    // An earlier process with the same id may have been killed before its cleanup.
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("creating a directory for redis-server");
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_a_cluster_waits_for_no_disk() {
        let server = RedisServer::start_with(&[CLUSTER, "yes"]);
        let has_memory = Path::new(MEMORY).is_dir() && env::var_os(BINARY).is_none();
        assert_eq!(server.directory.starts_with(MEMORY), has_memory);
        assert!(server.directory.join("nodes.conf").exists());
        let directory = server.directory.clone();
        drop(server);
        assert!(!directory.exists());
    }
}
