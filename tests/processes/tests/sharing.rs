//! Processes that share one Redis, or none.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

use redis_harness::{Pulse, RedisServer, eventually};

struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    fn start(environment: &[(&str, &str)]) -> Self {
        Self::start_program(Path::new(env!("CARGO_BIN_EXE_worker")), environment)
    }

    fn start_program(program: &Path, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(program)
            .env_remove("REDIS_URL")
            .env_remove("CACHED_ASIDE")
            .env_remove("CACHED_ASIDE_NAMESPACE")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the worker starts");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, stdin, stdout }
    }

    fn with_redis(redis: &RedisServer) -> Self {
        Self::start(&[("REDIS_URL", &redis.url()), ("CACHED_ASIDE_NAMESPACE", "fleet")])
    }

    fn request(&mut self, line: &str) -> String {
        self.send(line);
        self.receive()
    }

    fn send(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it is open");
        writeln!(stdin, "{line}").expect("the worker reads");
    }

    fn receive(&mut self) -> String {
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).expect("the worker answers");
        answer.trim_end().to_owned()
    }

    /// Returns the result of a burst: different values, loads, and the longest call in ms.
    fn receive_burst(&mut self) -> (u64, u64, u64) {
        let mut line = self.receive();
        while line == "loading" {
            line = self.receive();
        }
        let mut numbers = line.split(' ').map(|number| number.parse().expect("it is a number"));
        let mut number = || numbers.next().expect("there are three");
        (number(), number(), number())
    }

    fn own_value(&self, key: &str) -> String {
        format!("{key}-of-{}", self.child.id())
    }

    /// Ends the worker. Returns its output on stderr.
    fn end(mut self) -> String {
        self.stdin = None;
        let mut stderr = String::new();
        self.child.stderr.take().expect("it is piped").read_to_string(&mut stderr).expect("it is text");
        stderr
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

#[test]
fn two_processes_share_values_and_invalidations_reach_redis() {
    let redis = RedisServer::start();
    let patient = || Worker::start(&[("PATIENT_REDIS_URL", &redis.url())]);
    let (mut a, mut b) = (patient(), patient());
    assert_eq!(a.request("ask x"), format!("{} Miss", a.own_value("x")));
    assert_eq!(redis.cli(&["EXISTS", "fleet:answer:x"]).trim(), "1");
    let shared = b.request("ask x");
    assert!(shared.starts_with(&format!("{} Hit {{ tier: L2", a.own_value("x"))), "{shared}");
    assert!(b.request("ask x").contains("tier: L1"));
    assert_eq!(b.request("invalidate x"), "done");
    assert_eq!(redis.cli(&["EXISTS", "fleet:answer:x"]).trim(), "0");
    assert_eq!(b.request("ask x"), format!("{} Miss", b.own_value("x")));
}

#[test]
fn four_processes_with_2500_callers_each_load_a_cold_key_once() {
    let redis = RedisServer::start();
    let mut workers = [(); 4].map(|()| Worker::start(&[("PATIENT_REDIS_URL", &redis.url())]));
    for worker in &mut workers {
        // Connects the worker.
        worker.request("ask warm");
    }
    for worker in &mut workers {
        worker.send("burst cold 2500 300");
    }
    let bursts = workers.each_mut().map(Worker::receive_burst);
    assert_eq!(bursts.map(|(values, ..)| values), [1; 4], "each process has one answer for all");
    assert_eq!(bursts.iter().map(|(_, loads, _)| loads).sum::<u64>(), 1, "{bursts:?}");
}

#[test]
fn killed_leader_is_replaced_within_the_lease() {
    const LEASE: u64 = 2000;
    const LOAD: u64 = 100;

    let redis = RedisServer::start();
    let lease = LEASE.to_string();
    let environment = [("PATIENT_REDIS_URL", &*redis.url()), ("LEASE_MS", &*lease)];
    let (mut holder, mut others) =
        (Worker::start(&environment), [(); 3].map(|()| Worker::start(&environment)));
    for worker in &mut others {
        worker.request("ask warm");
    }
    holder.send("burst cold 100 60000");
    assert_eq!(holder.receive(), "loading");
    for worker in &mut others {
        worker.send(&format!("burst cold 100 {LOAD}"));
    }
    let (pulse, killed) = (Pulse::start(), Instant::now());
    holder.child.kill().expect("it runs");
    let bursts = others.each_mut().map(Worker::receive_burst);
    assert_eq!(bursts.iter().map(|(_, loads, _)| loads).sum::<u64>(), 1, "{bursts:?}");
    // The holder renewed its lease for the last time before the kill, so the lease ends within `LEASE`. The
    // additional second is for the work of 100 callers.
    let longest = bursts.iter().map(|(.., longest)| *longest).max();
    let late =
        u64::try_from(pulse.delay_between(killed, Instant::now()).as_millis()).expect("it is not long");
    assert!(longest <= Some(LEASE + LOAD + 1000 + late), "{bursts:?}, and {late} ms late");
}

#[test]
fn process_started_without_redis_shares_once_redis_is_up() {
    let mut redis = RedisServer::start();
    redis.stop();
    let (mut a, mut b) = (Worker::with_redis(&redis), Worker::with_redis(&redis));
    assert_eq!(a.request("ask x"), format!("{} Miss", a.own_value("x")));
    assert_eq!(b.request("ask x"), format!("{} Miss", b.own_value("x")));
    assert!(a.request("ask x").contains("tier: L1"));
    assert!(a.request("invalidate x").contains("has not reached the shared tier yet"));
    redis.restart();
    let mut number = 0;
    eventually("the processes share again", || {
        number += 1;
        let loaded = a.request(&format!("ask {number}"));
        let shared = b.request(&format!("ask {number}"));
        loaded.ends_with(" Miss") && shared.contains("tier: L2")
    });
}

#[test]
fn only_sharing_is_lost_when_redis_is_killed() {
    let mut redis = RedisServer::start();
    let mut a = Worker::with_redis(&redis);
    assert!(a.request("ask x").ends_with("Miss"));
    redis.kill();
    assert!(a.request("ask x").contains("tier: L1"));
    for key in ["y", "z"] {
        assert!(a.request(&format!("ask {key}")).ends_with("Miss"));
        assert!(a.request(&format!("ask {key}")).contains("tier: L1"));
    }
    redis.restart();
    let mut number = 0;
    eventually("Redis is filled again", || {
        number += 1;
        a.request(&format!("ask n{number}"));
        redis.cli(&["EXISTS", &format!("fleet:answer:n{number}")]).trim() == "1"
    });
}

#[test]
fn without_redis_each_process_caches_alone() {
    let (mut a, mut b) = (Worker::start(&[]), Worker::start(&[]));
    assert_eq!(a.request("ask x"), format!("{} Miss", a.own_value("x")));
    assert!(a.request("ask x").contains("tier: L1"));
    assert_eq!(b.request("ask x"), format!("{} Miss", b.own_value("x")));
    assert_eq!(a.end(), "");
}

#[test]
fn environment_can_turn_caching_off() {
    let redis = RedisServer::start();
    let url = redis.url();
    let mut off = Worker::start(&[("REDIS_URL", &url), ("CACHED_ASIDE", "off")]);
    let mut local = Worker::start(&[("REDIS_URL", &url), ("CACHED_ASIDE", "local")]);
    for _ in 0..2 {
        assert!(off.request("ask x").contains("Bypass(Off)"));
    }
    assert!(local.request("ask x").ends_with("Miss"));
    assert!(local.request("ask x").contains("tier: L1"));
    assert_eq!(redis.cli(&["DBSIZE"]).trim(), "0");
}

#[test]
fn bad_environment_is_reported_once_without_secrets() {
    let reports_once = |worker: Worker, begin: &str| {
        let stderr = worker.end();
        assert!(stderr.starts_with(begin) && stderr.lines().count() == 1, "{stderr}");
        assert!(!stderr.contains("canary"), "{stderr}");
    };
    // If a Redis was intended, a cache without it would get no invalidations, so caching is off. It is off as
    // well for an unknown mode, which may have been meant to turn it off.
    let redis = ("REDIS_URL", "redis://127.0.0.1:1");
    for environment in [
        &[("REDIS_URL", "redis://user:canary@localhost:notaport")][..],
        &[("REDIS_URL", "redis://user:canary@localhost/?canary=1")],
        &[("REDIS_URL", "canary")],
        &[("CACHED_ASIDE", "canary")],
        &[("CACHED_ASIDE_NAMESPACE", "can ary"), redis],
        &[("CACHED_ASIDE_NAMESPACE", "shop:canary"), redis],
    ] {
        let mut worker = Worker::start(environment);
        for _ in 0..2 {
            assert!(worker.request("ask x").contains("Bypass(Off)"), "{environment:?}");
        }
        reports_once(worker, "cached-aside: CACHING IS OFF: ");
    }
    // Without Redis, nothing is shared in any case, so the cache works.
    let mut worker = Worker::start(&[("CACHED_ASIDE_NAMESPACE", "can ary")]);
    assert!(worker.request("ask x").ends_with("Miss"));
    assert!(worker.request("ask x").contains("tier: L1"));
    reports_once(worker, "cached-aside: ");
}

#[test]
fn replaced_program_shares_with_its_successor() {
    let redis = RedisServer::start();
    let worker = Path::new(env!("CARGO_BIN_EXE_worker"));
    let directory = worker.with_file_name(format!("fleet-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory for a program");
    let program = directory.join("shop");
    let start = || {
        // A hard link and not a copy: another thread may start a process, which would inherit the copy that
        // is being written. The copy could not be run then.
        fs::hard_link(worker, &program).expect("the program can have another name");
        Worker::start_program(&program, &[("REDIS_URL", &redis.url())])
    };
    let mut old = start();
    // The answer shows that the worker runs. The worker has not looked up the name of its program yet.
    old.send("stats off");
    assert!(old.receive().starts_with("no "));
    fs::remove_file(&program).expect("the program can be removed");
    let mut new = start();
    for (worker, key) in [(&mut old, "x"), (&mut new, "y")] {
        let command = format!("ask {key}");
        assert_eq!(worker.request(&command), format!("{} Miss", worker.own_value(key)));
        assert_eq!(
            redis.cli(&["EXISTS", &format!("shop:answer:{key}")]),
            "1",
            "{}",
            redis.cli(&["KEYS", "*"])
        );
    }
    drop((old, new));
    fs::remove_dir_all(&directory).expect("the directory can be removed");
}
