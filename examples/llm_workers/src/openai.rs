//! The subset of the chat completions protocol that client and stand-in use, the prompt, and the price.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Price of a million prompt tokens of a large hosted model, in dollars. Replace both prices with your own.
pub(crate) const PROMPT_PRICE: f64 = 3.0;
/// Price of a million completion tokens, in dollars.
pub(crate) const COMPLETION_PRICE: f64 = 15.0;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) model: String,
    pub(crate) messages: Vec<Message>,
    /// Id of the user that asks, for the provider's own checks.
    pub(crate) user: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) role: String,
    pub(crate) content: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Response {
    pub(crate) model: String,
    pub(crate) choices: Vec<Choice>,
    pub(crate) usage: Usage,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Choice {
    pub(crate) index: u32,
    pub(crate) message: Message,
    pub(crate) finish_reason: String,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
}

impl Usage {
    pub(crate) fn dollars(self) -> f64 {
        (self.prompt_tokens as f64 * PROMPT_PRICE + self.completion_tokens as f64 * COMPLETION_PRICE) / 1e6
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
    }
}

/// Returns the request for a question about a note.
///
/// It contains the passages of the note that retrieval would have found.
pub(crate) fn prompt(user_id: u64, note_id: u64, question: &str) -> Request {
    const PASSAGE: &str = "The learner wrote this down in a lecture, and came back to it before the exam. ";
    let message = |role: &str, content: String| Message { role: role.to_owned(), content };
    let passages = PASSAGE.repeat(20 + usize::try_from(note_id * 37 % 60).unwrap_or(0));
    Request {
        model: "stand-in".to_owned(),
        messages: vec![
            message(
                "system",
                format!("Answer from note {note_id}, and say so if it does not tell.\n{passages}"),
            ),
            message("user", question.to_owned()),
        ],
        user: user_id.to_string(),
    }
}

/// Estimates the number of tokens without a tokenizer: about four characters of English per token.
pub(crate) fn tokens(text: &str) -> u64 {
    text.chars().count().div_ceil(4) as u64
}
