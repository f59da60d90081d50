//! All processes of a run.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use redis_harness::{Mode, RedisServer};

use super::{
    Plan, Roles,
    servers::Servers,
    worker::{EndedWorker, Worker},
};
use crate::{
    clock::now,
    history::{Event, Milestone, Process},
    worker::Job,
};

/// Redis, the database, and the workers. A drop ends them all.
#[derive(Debug)]
pub(crate) struct Fleet {
    // Workers are declared first, so they are dropped first: none of them sees its Redis end.
    workers: Vec<Worker>,
    pub(crate) redis: Servers,
    /// Redis server that serves as the database. No fault ever hits it.
    pub(crate) database: RedisServer,
    processes: Vec<Process>,
    events: Vec<Event>,
    count: Arc<AtomicU64>,
    plan: Plan,
}

impl Fleet {
    pub(super) fn start(plan: &Plan) -> Self {
        let redis = Servers::start(plan.is_cluster, plan.workers);
        let database = RedisServer::start();
        let mut fleet = Self {
            workers: Vec::new(),
            redis,
            database,
            processes: Vec::new(),
            events: Vec::new(),
            count: Arc::default(),
            plan: plan.clone(),
        };
        for slot in 0..plan.workers {
            fleet.reset_proxy(slot);
            let worker = fleet.launch(slot);
            fleet.workers.push(worker);
        }
        fleet
    }

    fn launch(&mut self, slot: usize) -> Worker {
        let plan = &self.plan;
        let restarts = self.processes.iter().filter(|process| process.slot == slot).count() as u64;
        let process = u16::try_from(self.processes.len()).expect("fewer processes than 65,535");
        let defaults = (plan.mix, plan.rate / plan.workers as u64, plan.tasks);
        let (mix, rate, tasks) = match plan.roles {
            None => defaults,
            Some(Roles { writes, .. }) if slot == 0 => (plan.mix.writing(), writes, 1),
            Some(_) => (plan.mix.reading(), defaults.1, defaults.2),
        };
        let job = Job {
            settings: plan.settings,
            mix,
            seed: plan.seed,
            slot,
            restarts,
            process,
            keys: plan.keys,
            tasks,
            threads: plan.threads,
            rate,
            burst: plan.burst,
            only_key: plan.only_key,
            url: self.redis.url(slot),
            servers: self.redis.each_url(slot),
            database: self.database.url(),
        };
        self.processes.push(Process { slot, started: now(), killed: None });
        Worker::start(&job, plan.plant.map(|plant| plant.name), self.count.clone())
    }

    /// Returns the number of operations so far.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns the number of keys.
    pub(crate) fn keys(&self) -> u32 {
        self.plan.keys
    }

    pub(crate) fn worker(&self, slot: usize) -> &Worker {
        &self.workers[slot]
    }

    /// Resets the proxy of a worker to the mode that it has without a fault.
    pub(crate) fn reset_proxy(&self, slot: usize) {
        let Some(proxy) = self.redis.proxy(slot) else { return };
        proxy.set_mode(match self.plan.roles {
            Some(Roles { reader_delay, .. }) if slot > 0 && reader_delay > 0 => {
                Mode::Delay(Duration::from_millis(reader_delay))
            }
            _ => self.plan.default_mode,
        });
    }

    /// Starts a successor of a worker, and ends the worker.
    pub(crate) fn replace(&mut self, slot: usize, end: fn(Worker) -> EndedWorker) {
        let ended = self.processes.iter().rposition(|process| process.slot == slot);
        let ended = ended.expect("each slot has a process");
        let successor = self.launch(slot);
        let EndedWorker { mut events, killed } = end(mem::replace(&mut self.workers[slot], successor));
        self.processes[ended].killed = killed;
        self.events.append(&mut events);
    }

    /// Adds an event of another program.
    pub(crate) fn record(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Sends a command to all workers, except the one in the slot `except`.
    pub(super) fn send_command(&mut self, command: &str, except: Option<usize>) {
        let receivers = self.workers.iter_mut().enumerate().filter(|(slot, _)| Some(*slot) != except);
        receivers.for_each(|(_, worker)| worker.send_command(command));
    }

    pub(super) fn wait_for(&self, milestone: Milestone, timeout: Duration) -> Result<(), String> {
        let deadline = Instant::now() + timeout;
        while !self.workers.iter().all(|worker| worker.has_reached(milestone)) {
            if Instant::now() > deadline {
                return Err(format!("a worker was not {milestone:?} within {timeout:?}"));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Discards the traffic that the proxies have recorded, which is not used.
    pub(super) fn forget_traffic(&self) {
        for proxy in self.redis.proxies() {
            drop(proxy.take_round_trips());
        }
    }

    /// Ends all processes. Returns the events and the processes of the run.
    pub(super) fn end(mut self) -> (Vec<Event>, Vec<Process>) {
        for worker in mem::take(&mut self.workers) {
            self.events.append(&mut worker.end().events);
        }
        (mem::take(&mut self.events), mem::take(&mut self.processes))
    }
}
