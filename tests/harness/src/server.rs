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

/// Names another server in the environment, such as another version: a path to its program.
const BINARY: &str = "CACHED_ASIDE_REDIS_SERVER";

const MISSING: &str = "redis-server is not installed, and these tests need it. Install it with one of\n  \
     sudo apt-get install redis-server\n  sudo dnf install redis\n  brew install redis\nor run tests/run.sh";

/// Stands for the port of a cluster's bus among the options, which is known when the server's own port is.
pub(crate) const BUS_PORT: &str = "{bus}";

/// The option of a server of a cluster.
pub(crate) const CLUSTER: &str = "--cluster-enabled";

/// A file system in memory, where there is one.
const MEMORY: &str = "/dev/shm";

/// How far that is from the server's own port, unless it is given.
const BUS_DISTANCE: u16 = 10_000;

/// How many ports are tried when other processes keep taking them.
const ATTEMPTS: usize = 20;

/// A `redis-server` of the test's own: on 127.0.0.1, with its own directory, without persistence.
///
/// Dropping it kills and reaps the process and removes the directory.
#[derive(Debug)]
pub struct RedisServer {
    port: Port,
    /// A second port, on which it expects TLS.
    tls_port: Option<Port>,
    /// A port that one of the options names.
    bus: Option<Port>,
    directory: PathBuf,
    /// The configuration of a sentinel; nothing for a server.
    sentinel: Option<String>,
    options: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server on a free port, and returns when it answers.
    ///
    /// # Panics
    /// When `redis-server` is not installed (the message says how to install it) or does not answer. The environment's
    /// `CACHED_ASIDE_REDIS_SERVER` may name another program in its place.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`start`](Self::start), with further command line options, such as `["--maxmemory", "1mb"]`.
    ///
    /// A server that asks for a password counts as started when it answers `NOAUTH`.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_on(options, None, false, None)
    }

    /// A server of a cluster, with a port of its own for the others where it can have one: before Redis 7, it has a fixed
    /// distance from the first one.
    pub(crate) fn start_in_cluster(options: &[&str]) -> Self {
        let bus = (Self::major_version() >= 7).then(Port::reserve);
        let number = bus.iter().map(|bus| bus.number().to_string()).collect::<Vec<_>>();
        let bus_option = number.iter().flat_map(|number| ["--cluster-port", number]);
        let options: Vec<_> =
            [CLUSTER, "yes"].into_iter().chain(bus_option).chain(options.iter().copied()).collect();
        Self::start_on(&options, None, false, bus)
    }

    /// As [`start_with`](Self::start_with), with a second port for TLS; the options name the certificates. The first
    /// port stays as it is, for [`cli`](Self::cli).
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_with_tls(options: &[&str]) -> Self {
        Self::start_on(options, None, true, None)
    }

    /// Starts a sentinel with this configuration, which need not say where it listens. What it learns it keeps when it is
    /// [restarted](Self::restart). If there are options, they name certificates, and it has a second port for TLS.
    ///
    /// # Panics
    /// As [`start`](Self::start).
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
            // A program that reserves nothing was quicker.
            (server.port, server.tls_port) = ports();
        }
        panic!("redis-server did not start on any of {ATTEMPTS} ports; its log: {}", server.log());
    }

    /// That of the servers that are started, such as 7; of Valkey as well, which began with 7.
    ///
    /// # Panics
    /// When the program cannot be run, or does not say it.
    pub fn major_version() -> u32 {
        static VERSION: LazyLock<u32> = LazyLock::new(|| {
            let said = Command::new(binary()).arg("--version").output().expect(MISSING).stdout;
            let said = String::from_utf8_lossy(&said).into_owned();
            let version = said.split_once("v=").and_then(|(_, rest)| rest.split_once('.'));
            version.and_then(|(major, _)| major.parse().ok()).expect("a server says its version")
        });
        *VERSION
    }

    /// The address without a password: `redis://127.0.0.1:port/`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port())
    }

    /// The TCP port, the same for the whole life of this value.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Whether the process has been started and not ended since.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// The port on which the servers of a cluster talk to each other.
    pub(crate) fn bus_port(&self) -> u16 {
        self.bus.as_ref().map_or(self.port() + BUS_DISTANCE, Port::number)
    }

    /// The port for TLS, as lasting as the other one.
    ///
    /// # Panics
    /// When the server was not [started](Self::start_with_tls) with one.
    pub fn tls_port(&self) -> u16 {
        self.tls_port.as_ref().expect("the server was started with TLS").number()
    }

    /// Sends one command and returns its answer as text; `(nil)` for nil, a line per element for an array.
    ///
    /// # Panics
    /// When the server answers with an error, or not within [`PATIENCE`](crate::PATIENCE).
    pub fn cli(&self, args: &[&str]) -> String {
        self.cli_unless_cut_off(args)
            .unwrap_or_else(|| panic!("redis-cli {args:?}: the server closed the connection"))
    }

    /// The same; `None` if the server closed the connection before it answered, as it does to all clients at the moment when a
    /// Sentinel gives it another role.
    ///
    /// # Panics
    /// As [`cli`](Self::cli) otherwise.
    pub fn cli_unless_cut_off(&self, args: &[&str]) -> Option<String> {
        match cli::run(&self.url(), args) {
            Ok(answer) => Some(answer),
            Err(error) if error.is_connection_dropped() => None,
            Err(error) => panic!("redis-cli {args:?}: {error}"),
        }
    }

    /// Asks the server to end (SIGTERM) and waits until it has. Does nothing when it does not run.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    /// Ends the server at once (SIGKILL) and waits until it is gone. Does nothing when it does not run.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Stops the server if it runs, and starts an empty one on the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.stop();
        for _ in 0..ATTEMPTS {
            if self.launch() {
                return;
            }
        }
        panic!("redis-server did not start on port {} again; its log: {}", self.port(), self.log());
    }

    /// Stops the process (SIGSTOP): its sockets stay open, and nobody answers. Returns when it stands still.
    ///
    /// # Panics
    /// When the server does not run.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        waitpid(Some(self.pid()), WaitOptions::UNTRACED).expect("waiting for redis-server to stand still");
    }

    /// Lets a [frozen](Self::freeze) process go on.
    ///
    /// # Panics
    /// When the server does not run.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Starts the process; `false` if it ended before it answered, as when its port is taken.
    fn launch(&mut self) -> bool {
        let mut command = Command::new(binary());
        if let Some(configuration) = self.sentinel.take() {
            // It writes to this file as well.
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

    /// Whether it is our process that answers, and not another one that was quicker to take the port.
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
        // A stopped process handles SIGTERM only when it goes on.
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
        // A panic here, while a failed test unwinds, would hide why it failed.
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The program that is run.
fn binary() -> OsString {
    env::var_os(BINARY).unwrap_or_else(|| "redis-server".into())
}

/// A new directory for one server. A server of a cluster answers no client until each change of its map is on the disk, for which it
/// waits for everything else that is being written there: a third of a second while a program is linked.
fn directory(is_of_cluster: bool) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("cached-aside-redis-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    // Another program may see other file systems.
    let is_in_memory = is_of_cluster && env::var_os(BINARY).is_none() && Path::new(MEMORY).is_dir();
    let root = if is_in_memory { PathBuf::from(MEMORY) } else { env::temp_dir() };
    let path = root.join(name);
    // An earlier process with the same id may have been killed before it could clean up.
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
