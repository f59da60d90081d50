//! The cached function, and the client of the model that it calls.

use std::{error::Error, fmt, net::SocketAddr};

use cached_aside::cached;
use http_body_util::{BodyExt, Full};
use hyper::{Uri, body::Bytes, header::CONTENT_TYPE};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Deserialize, Serialize};

use crate::openai::{Request, Response, Usage, prompt};

/// Answers a user's question about a note, once in 30 minutes for all workers.
///
/// The first worker to receive a question asks the model. The key holds a hash of the question, so Redis keys
/// stay short and do not reveal the question.
#[cached("rag:{user_id}:{note_id}:{hash(question)}", ttl = "30m", skip(llm))]
pub(crate) async fn answer(
    llm: &Llm,
    user_id: u64,
    note_id: u64,
    question: &str,
) -> Result<Answer, LlmError> {
    let response = llm.complete(&prompt(user_id, note_id, question)).await?;
    let choice = response.choices.into_iter().next().ok_or_else(|| LlmError::new("no choices"))?;
    Ok(Answer { text: choice.message.content, usage: response.usage })
}

/// Cached answer. Hits in this process need `Clone`, hits in Redis need serde.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) usage: Usage,
}

/// Error of a call to the model. It is `Clone`, so that every caller that waits for the load receives it.
#[derive(Clone, Debug)]
pub(crate) struct LlmError(String);

impl LlmError {
    fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

impl fmt::Display for LlmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model did not answer: {}", self.0)
    }
}

impl Error for LlmError {}

/// Client of the model.
///
/// It is `Clone`, so that a load can own a client and run in a task of its own. When its caller disconnects,
/// the load goes on: it is paid for, and other callers may wait for it.
#[derive(Clone, Debug)]
pub(crate) struct Llm {
    http: Client<HttpConnector, Full<Bytes>>,
    url: Uri,
}

impl Llm {
    pub(crate) fn new(address: SocketAddr) -> Result<Self, String> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let url = format!("http://{address}/v1/chat/completions");
        Ok(Self {
            http: Client::builder(TokioExecutor::new()).build(connector),
            url: url.parse().map_err(|_| format!("`{url}` is not a URL"))?,
        })
    }

    async fn complete(&self, request: &Request) -> Result<Response, LlmError> {
        let body = serde_json::to_vec(request).map_err(LlmError::new)?;
        let request = hyper::Request::post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .map_err(LlmError::new)?;
        let response = self.http.request(request).await.map_err(LlmError::new)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(LlmError::new)?.to_bytes();
        if !status.is_success() {
            return Err(LlmError::new(status));
        }
        serde_json::from_slice(&body).map_err(LlmError::new)
    }
}
