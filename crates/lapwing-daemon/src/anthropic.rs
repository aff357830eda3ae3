//! Anthropic's interface: messages, and how many tokens they have.

mod answer;
mod content;
mod conversation;
mod messages;
mod request;

use crate::routes::{Routes, told};

pub(crate) fn routes() -> Routes {
    use answer::{Event, Message};
    Routes::new()
        .post(
            "/v1/messages",
            messages::create,
            told("Answer a conversation").gives::<Message>().events::<Event>(),
        )
        .post("/v1/messages/count_tokens", messages::count_tokens, told("Count its tokens"))
}
