//! OpenAI's interface: chat completions, completions, responses, embeddings and models.

pub(crate) mod answer;
mod chat;
mod completions;
mod embeddings;
mod models;
pub(crate) mod prompts;
pub(crate) mod request;
mod responses;

use crate::routes::{Routes, told};

pub(crate) fn routes() -> Routes {
    use chat::{Chunk, Completion};
    use completions::TextCompletion;
    use responses::{Event, Response};
    let routes = Routes::new()
        .post(
            "/v1/completions",
            completions::complete,
            told("Go on from a text").gives::<TextCompletion>().events::<TextCompletion>(),
        )
        .post("/v1/embeddings", embeddings::embed, told("Turn texts into vectors"));
    // llama.cpp's server has most of them without the version, too.
    ["/v1", ""].into_iter().fold(routes, |routes, version| {
        let at = |path: &str| format!("{version}{path}");
        routes
            .get(&at("/models"), models::list, told("What there is"))
            .get(&at("/models/{*name}"), models::get, told("A model"))
            .post(
                &at("/chat/completions"),
                chat::complete,
                told("Answer a conversation").gives::<Completion>().events::<Chunk<'_>>(),
            )
            .post(&at("/chat/completions/input_tokens"), chat::count, told("Count its tokens"))
            .post(
                &at("/responses"),
                responses::create,
                told("Answer with items").gives::<Response>().events::<Event>(),
            )
            .post(&at("/responses/input_tokens"), responses::count, told("Count its tokens"))
    })
}
