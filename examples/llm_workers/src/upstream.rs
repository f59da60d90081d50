//! A slow stand-in for the model: serves `POST /v1/chat/completions` on 127.0.0.1 and counts its charges.

use std::{
    collections::HashMap,
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    time::{Instant, sleep_until},
};

use crate::{
    openai::{Choice, Message, Request, Response, Usage, tokens},
    random::Random,
};

/// Spread of the answer times (sigma of a log-normal distribution): 19 of 20 are below twice the median.
const LATENCY_SIGMA: f64 = 0.4;

#[derive(Debug)]
pub(crate) struct Upstream {
    address: SocketAddr,
    model: Arc<Model>,
}

#[derive(Debug)]
struct Model {
    latency: Duration,
    hasher: RandomState,
    ledger: Mutex<Ledger>,
}

#[derive(Debug)]
struct Ledger {
    random: Random,
    bill: Bill,
    /// Number of calls in progress for each request that ever arrived, by a hash of its bytes.
    ///
    /// A request stays in the map with a count of 0, so that a later repetition is recognised.
    in_progress: HashMap<u64, u32>,
}

/// Totals of all calls so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bill {
    pub(crate) calls: u64,
    pub(crate) usage: Usage,
    /// Calls that arrived while an equal one was being answered.
    pub(crate) repeated_at_once: u64,
    /// Calls that arrived after an equal one had been answered.
    pub(crate) repeated_later: u64,
}

impl Upstream {
    pub(crate) async fn start(latency: Duration, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        // The generator is seeded apart from that of the stream, so that neither influences the other.
        let random = Random::new(seed ^ u64::from_be_bytes(*b"upstream"));
        let ledger = Ledger { random, bill: Bill::default(), in_progress: HashMap::new() };
        let model = Arc::new(Model { latency, hasher: RandomState::new(), ledger: Mutex::new(ledger) });
        tokio::spawn(accept(listener, model.clone()));
        Ok(Self { address, model })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn bill(&self) -> Bill {
        self.model.ledger().bill
    }
}

async fn accept(listener: TcpListener, model: Arc<Model>) {
    loop {
        // `accept` fails when too many files are open. Some of them will be closed soon.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let model = model.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| async { Ok::<_, Infallible>(model.serve(request).await) });
            // An error means that the client has closed the connection.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Model {
    async fn serve(&self, request: hyper::Request<Incoming>) -> hyper::Response<Full<Bytes>> {
        if request.method() != Method::POST || request.uri().path() != "/v1/chat/completions" {
            return refuse(StatusCode::NOT_FOUND, "there is only POST /v1/chat/completions");
        }
        let Ok(body) = request.into_body().collect().await.map(http_body_util::Collected::to_bytes) else {
            return refuse(StatusCode::BAD_REQUEST, "the request broke off");
        };
        let Ok(request) = serde_json::from_slice::<Request>(&body) else {
            return refuse(StatusCode::BAD_REQUEST, "the request is not a chat completion");
        };
        let (text, usage) = reply(&request);
        self.think(&body, usage).await;
        let message = Message { role: "assistant".to_owned(), content: text };
        let choice = Choice { index: 0, message, finish_reason: "stop".to_owned() };
        json(StatusCode::OK, &Response { model: request.model, choices: vec![choice], usage })
    }

    /// Charges for the call, and waits for a random answer time.
    async fn think(&self, body: &[u8], usage: Usage) {
        let request_hash = self.hasher.hash_one(body);
        let ready_at = {
            let mut ledger = self.ledger();
            ledger.begin(request_hash, usage);
            Instant::now() + self.latency.mul_f64(ledger.random.log_normal(LATENCY_SIGMA))
        };
        sleep_until(ready_at).await;
        self.ledger().end(request_hash);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    fn begin(&mut self, request_hash: u64, usage: Usage) {
        self.bill.calls += 1;
        self.bill.usage += usage;
        match self.in_progress.get(&request_hash) {
            None => {}
            Some(0) => self.bill.repeated_later += 1,
            Some(_) => self.bill.repeated_at_once += 1,
        }
        *self.in_progress.entry(request_hash).or_default() += 1;
    }

    fn end(&mut self, request_hash: u64) {
        if let Some(count) = self.in_progress.get_mut(&request_hash) {
            *count -= 1;
        }
    }
}

/// Returns the answer to a request, of 400 to 2,800 characters. Equal requests get equal answers.
pub(crate) fn reply(request: &Request) -> (String, Usage) {
    const SENTENCE: &str =
        "The note says so in its second part, with an example worth working through again. ";
    let question = request.messages.last().map_or("", |message| message.content.as_str());
    let length = 400 + Random::of(question).below(2_400);
    let text: String = SENTENCE.chars().cycle().take(length).collect();
    let usage = Usage {
        prompt_tokens: request.messages.iter().map(|message| tokens(&message.content)).sum(),
        completion_tokens: tokens(&text),
    };
    (text, usage)
}

fn refuse(status: StatusCode, message: &str) -> hyper::Response<Full<Bytes>> {
    json(status, &serde_json::json!({ "error": { "message": message } }))
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> hyper::Response<Full<Bytes>> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = hyper::Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    response
}
