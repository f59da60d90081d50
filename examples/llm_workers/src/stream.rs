//! The stream of requests: the user, the question, the note and the worker of each.

use std::collections::HashSet;

use crate::{
    args::Args,
    openai::{self, Usage},
    random::{Random, Zipf},
    upstream,
};

/// Zipf exponent of the popularity of questions. Like that of notes, it is near 1, as in traces of web
/// requests and in natural language.
const QUESTION_EXPONENT: f64 = 1.1;
/// Zipf exponent of the popularity of a user's notes.
const NOTE_EXPONENT: f64 = 1.0;
/// Zipf exponent of the activity of users: some ask more than others, but not by much.
const USER_EXPONENT: f64 = 0.5;

pub(crate) const NOTES_PER_USER: usize = 4;

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) questions: Vec<String>,
    pub(crate) requests: Vec<AssignedRequest>,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AssignedRequest {
    pub(crate) key: Key,
    /// Index of a worker, drawn at random, as by a load balancer without knowledge of caches.
    pub(crate) worker: usize,
}

/// Everything that determines the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) user_id: u64,
    pub(crate) note_id: u64,
    /// Index in [`Stream::questions`].
    pub(crate) question: usize,
}

/// Calls of the model, and the tokens that it charges for them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demand {
    pub(crate) calls: u64,
    pub(crate) usage: Usage,
}

impl Stream {
    /// Draws the requests. `questions` must not be empty.
    pub(crate) fn new(args: &Args, mut questions: Vec<String>) -> Self {
        let mut random = Random::new(args.seed);
        // Neighbours in a file are often alike. The shuffle gives them different ranks of popularity.
        random.shuffle(&mut questions);
        let question = Zipf::new(questions.len(), QUESTION_EXPONENT);
        let user = Zipf::new(args.users as usize, USER_EXPONENT);
        let note = Zipf::new(NOTES_PER_USER, NOTE_EXPONENT);
        let requests = (0..args.requests).map(|_| {
            let user_id = user.draw(&mut random) as u64 + 1;
            let note_id = user_id * 100 + note.draw(&mut random) as u64;
            let key = Key { user_id, note_id, question: question.draw(&mut random) };
            AssignedRequest { key, worker: random.below(args.workers) }
        });
        Self { requests: requests.collect(), questions }
    }

    pub(crate) fn question(&self, key: Key) -> &str {
        &self.questions[key.question]
    }

    /// Returns the demand without a cache: every request is a call.
    pub(crate) fn uncached(&self) -> Demand {
        self.demand(self.requests.iter().map(|request| request.key))
    }

    /// Returns the demand with a cache in each process: one call for each pair of a worker and a key.
    pub(crate) fn cached_per_worker(&self) -> Demand {
        let pairs: HashSet<_> = self.requests.iter().map(|request| (request.worker, request.key)).collect();
        self.demand(pairs.into_iter().map(|(_, key)| key))
    }

    /// Returns the least possible demand: one call for each key.
    pub(crate) fn distinct(&self) -> Demand {
        let keys: HashSet<_> = self.requests.iter().map(|request| request.key).collect();
        self.demand(keys.into_iter())
    }

    /// Computes the demand of requests for these keys.
    ///
    /// The stand-in answers equal requests equally, so its charges are known without a call.
    fn demand(&self, keys: impl Iterator<Item = Key>) -> Demand {
        let mut demand = Demand::default();
        for key in keys {
            let request = openai::prompt(key.user_id, key.note_id, self.question(key));
            demand.calls += 1;
            demand.usage += upstream::reply(&request).1;
        }
        demand
    }
}
