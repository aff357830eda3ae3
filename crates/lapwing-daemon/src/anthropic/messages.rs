//! `/v1/messages` and `/v1/messages/count_tokens`.

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use lapwing_serving::message::{Ask, Prompt, Said};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{Event, Message, Teller, message};
use super::request::{CountRequest, MessagesRequest, generate, n_tokens_max};
use crate::app::{App, Client};
use crate::begun::Begun;
use crate::body::{self, Framing, Gone, Writer, stream};
use crate::protocol::Protocol;
use crate::refusal::Refusal;
use crate::request_id::RequestId;

/// How many tokens a prompt has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct Count {
    input_tokens: usize,
    /// Required by the published schema of what is in trial.
    #[schema(value_type = Option<Value>)]
    context_management: Option<()>,
}

pub(super) async fn create(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Extension(request_id): Extension<RequestId>,
    body::Json(request): body::Json<MessagesRequest>,
) -> Result<Response, Refusal> {
    let keep_alive = request.keep_alive.unwrap_or_default();
    let is_stream = request.stream == Some(true);
    let has_one_call = request.asked.has_one_call();
    let shows_thoughts = request.asked.shows_thoughts();
    let n_tokens_max = n_tokens_max(&request)?;
    let asked = request.model.clone();
    let begun = app.generate(asked.as_deref(), generate(request)?, client, keep_alive).await?;
    let begun = begun.with_one_call(has_one_call);
    let teller = Teller::new(
        request_id.with_prefix("msg_"),
        asked.unwrap_or_else(|| begun.listing.name.clone()),
        RequestId::new().with_prefix("toolu_"),
        shows_thoughts,
        n_tokens_max,
    );
    if is_stream {
        return Ok(stream(Framing::NamedEvents, move |writer| async move {
            write(&writer, begun, teller, request_id).await
        }));
    }
    Ok(Json(whole(begun, teller).await?).into_response())
}

/// The tokens of a prompt. It is no use of the model, and loads none.
pub(super) async fn count_tokens(
    State(app): State<App>,
    body::Json(request): body::Json<CountRequest>,
) -> Result<Json<Count>, Refusal> {
    let _place = app.place()?;
    let listing = app.models.find(request.model.as_deref()).await?;
    let (chat, _) = request.asked.told()?;
    let ask = Ask::Render(Prompt::Chat(Box::new(chat)));
    match app.models.ask_of_text(&listing.name, ask).await? {
        Said::Encoded { ids, .. } => {
            Ok(Json(Count { input_tokens: ids.len(), context_management: None }))
        }
        _ => Err(Refusal::internal("the model's process is of another version")),
    }
}

async fn whole(mut begun: Begun, mut teller: Teller) -> Result<Message, Refusal> {
    let mut events = teller.begin(begun.n_prompt);
    while let Some(said) = begun.next().await {
        match said? {
            Said::Piece(piece) => events.extend(teller.piece(&piece)),
            Said::Ended(ended) => events.extend(teller.end(&ended)),
            _ => {}
        }
    }
    let is_over = matches!(events.last(), Some(Event::MessageStop));
    let message = message(events).filter(|_| is_over);
    message.ok_or_else(|| Refusal::internal("the model's process ended no answer"))
}

async fn write(
    writer: &Writer,
    mut begun: Begun,
    mut teller: Teller,
    request_id: RequestId,
) -> Result<(), Gone> {
    for event in teller.begin(begun.n_prompt) {
        writer.event(event.name(), &event).await?;
    }
    while let Some(said) = begun.next().await {
        let events = match said {
            Ok(Said::Piece(piece)) => teller.piece(&piece),
            Ok(Said::Ended(ended)) => teller.end(&ended),
            Ok(_) => continue,
            Err(refusal) => {
                let body = Protocol::Anthropic.body(&refusal, &request_id);
                return writer.event("error", &body).await;
            }
        };
        for event in events {
            writer.event(event.name(), &event).await?;
        }
    }
    Ok(())
}
