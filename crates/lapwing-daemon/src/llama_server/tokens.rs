//! `/tokenize`, `/detokenize` and `/apply-template`.

use axum::extract::State;
use lapwing_serving::message::{Ask, Chat, Prompt, Said, Spelled};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::app::App;
use crate::body::Json;
use crate::refusal::Refusal;

/// A text whose tokens are wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Tokenize {
    model: Option<String>,
    content: String,
    add_special: Option<bool>,
    parse_special: Option<bool>,
    with_pieces: Option<bool>,
}

/// Its tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Tokens {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
enum Token {
    Bare(u32),
    WithPiece { id: u32, piece: Bytes },
}

/// Text, or bytes where they are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Raw(Vec<u8>),
}

impl Token {
    fn with_piece(spelled: Spelled) -> Token {
        let Spelled { token, text, bytes } = spelled;
        Token::WithPiece { id: token, piece: bytes.map_or(Bytes::Text(text), Bytes::Raw) }
    }
}

/// Tokens whose text is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Detokenize {
    model: Option<String>,
    tokens: Vec<u32>,
}

/// Their text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = llama_server::tokens::Content)]
pub(crate) struct Content {
    content: String,
}

/// A conversation whose prompt is wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct ApplyTemplate {
    model: Option<String>,
    messages: Vec<Value>,
    tools: Option<Vec<Value>>,
    chat_template_kwargs: Option<Map<String, Value>>,
}

/// Its prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Templated {
    prompt: String,
}

pub(super) async fn tokenize(
    State(app): State<App>,
    Json(request): Json<Tokenize>,
) -> Result<axum::Json<Tokens>, Refusal> {
    if request.parse_special == Some(false) {
        let message = "spellings of special tokens always become those";
        return Err(Refusal::field("parse_special", message));
    }
    if request.content.is_empty() {
        return Ok(axum::Json(Tokens { tokens: Vec::new() }));
    }
    let add_special = request.add_special == Some(true);
    let ask = Ask::Encode { text: request.content, add_special };
    let Said::Encoded { ids, pieces, .. } = said(&app, request.model.as_deref(), ask).await? else {
        return Err(Refusal::internal("the model's process told no tokens"));
    };
    let tokens = match request.with_pieces == Some(true) {
        true => pieces.into_iter().map(Token::with_piece).collect(),
        false => ids.into_iter().map(Token::Bare).collect(),
    };
    Ok(axum::Json(Tokens { tokens }))
}

pub(super) async fn detokenize(
    State(app): State<App>,
    Json(request): Json<Detokenize>,
) -> Result<axum::Json<Content>, Refusal> {
    match said(&app, request.model.as_deref(), Ask::Decode(request.tokens)).await? {
        Said::Decoded(content) => Ok(axum::Json(Content { content })),
        _ => Err(Refusal::internal("the model's process told no text")),
    }
}

pub(super) async fn apply_template(
    State(app): State<App>,
    Json(request): Json<ApplyTemplate>,
) -> Result<axum::Json<Templated>, Refusal> {
    let variables = request.chat_template_kwargs.unwrap_or_default();
    let chat =
        Chat { messages: request.messages, tools: request.tools, variables, ..Chat::default() };
    let ask = Ask::Render(Prompt::Chat(Box::new(chat)));
    match said(&app, request.model.as_deref(), ask).await? {
        Said::Encoded { text, .. } => Ok(axum::Json(Templated { prompt: text })),
        _ => Err(Refusal::internal("the model's process told no prompt")),
    }
}

async fn said(app: &App, asked: Option<&str>, ask: Ask) -> Result<Said, Refusal> {
    let _place = app.place()?;
    let listing = app.models.find(asked).await?;
    app.models.ask_of_text(&listing.name, ask).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_come_bare_or_with_their_pieces() {
        let check = |json: Value| {
            let tokens: Tokens = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(serde_json::to_value(&tokens).unwrap(), json);
        };
        check(json!({"tokens": [1, 2]}));
        check(json!({"tokens": [{"id": 1, "piece": "a"}, {"id": 2, "piece": [0xe5, 0xaa]}]}));
        let tokens = [(1, "a".into()), (2, vec![0xe5, 0xaa])]
            .map(|(token, bytes)| Token::with_piece(Spelled::new(token, bytes)));
        let json = serde_json::to_value(Tokens { tokens: tokens.into() }).unwrap();
        assert_eq!(json["tokens"][1], json!({"id": 2, "piece": [0xe5, 0xaa]}));
        assert_eq!(json["tokens"][0], json!({"id": 1, "piece": "a"}));
    }
}
