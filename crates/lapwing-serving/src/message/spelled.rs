//! Tokens as they are spelled, and how probable they were.

use lapwing_model::TokenId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How probable a token was, in nats, before bias, penalties and temperature and after the form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Probability {
    /// Of the token.
    pub log: f64,
    /// How the token is spelled, and its bytes.
    pub piece: Spelled,
    /// The most probable ones.
    pub top: Vec<(Spelled, f64)>,
}

/// A token and how it is spelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Spelled {
    /// The token.
    #[schema(value_type = u32)]
    pub token: TokenId,
    /// As text; what is not UTF-8 by itself is replaced.
    pub text: String,
    /// Its bytes where the text does not have them: a token may be a part of a character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Vec<u8>>,
}

impl Spelled {
    /// A token that is spelled with these bytes.
    #[must_use]
    pub fn new(token: TokenId, bytes: Vec<u8>) -> Spelled {
        match String::from_utf8(bytes) {
            Ok(text) => Spelled { token, text, bytes: None },
            Err(error) => {
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                Spelled { token, text, bytes: Some(error.into_bytes()) }
            }
        }
    }

    /// The bytes that spell it.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.clone().unwrap_or_else(|| self.text.clone().into_bytes())
    }
}
