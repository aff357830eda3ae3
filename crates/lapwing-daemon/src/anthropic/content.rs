//! What messages of Anthropic's interface are made of.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;
use utoipa::openapi::schema::{OneOf, Type};
use utoipa::openapi::{Array, Object, Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A text, or blocks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

/// By hand, so that what is wrong in a block is told.
impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> de::Visitor<'de> for Reader {
            type Value = Content;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text or a list of content blocks")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Content, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(list)).map(Content::Blocks)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl PartialSchema for Content {
    fn schema() -> RefOr<Schema> {
        let blocks = Array::new(Ref::from_schema_name(Block::name()));
        let either = OneOf::builder().item(Object::with_type(Type::String)).item(blocks);
        Schema::OneOf(either.build()).into()
    }
}

impl ToSchema for Content {
    fn name() -> std::borrow::Cow<'static, str> {
        "anthropic.content.Content".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Block::name().into_owned(), Block::schema()));
        Source::schemas(schemas);
        schemas.push((Source::name().into_owned(), Source::schema()));
    }
}

/// A part of a message, as far as it is understood. What servers of Anthropic's own do (searches,
/// code) leaves blocks of other types, which are refused by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = anthropic::content::Block)]
pub(super) enum Block {
    Text {
        text: String,
    },
    /// A picture, which is refused.
    Image {
        source: Value,
    },
    Document {
        source: Source,
        title: Option<String>,
        context: Option<String>,
    },
    SearchResult {
        title: String,
        source: String,
        #[schema(no_recursion)]
        content: Content,
    },
    /// The model called a function.
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
    /// What came of the call.
    ToolResult {
        tool_use_id: String,
        #[schema(no_recursion)]
        content: Option<Content>,
        is_error: Option<bool>,
    },
    /// The model thought.
    Thinking {
        thinking: String,
        signature: Option<String>,
    },
    /// The model thought, in words that only its makers read.
    RedactedThinking {
        data: String,
    },
    /// What is said to the model in the middle of a conversation, but not by its user.
    MidConvSystem {
        #[schema(no_recursion)]
        content: Content,
    },
}

/// Where a document is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Source {
    Text {
        data: String,
    },
    Content {
        #[schema(no_recursion)]
        content: Content,
    },
    /// A PDF, which is refused.
    Base64 {
        media_type: Option<String>,
    },
    /// An address, which is refused: nothing is fetched.
    Url {
        url: String,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_content_is_read_as_it_is_written() {
        let blocks = json!([
            {"type": "text", "text": "a"},
            {"type": "image", "source": {"type": "url", "url": "http://a"}},
            {"type": "document", "source": {"type": "text", "data": "d"}, "title": "t",
                "context": null},
            {"type": "document", "source": {"type": "content", "content": "d"}, "title": null,
                "context": "c"},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf"},
                "title": null, "context": null},
            {"type": "document", "source": {"type": "url", "url": "http://a"}, "title": null,
                "context": null},
            {"type": "search_result", "title": "t", "source": "s", "content": [
                {"type": "text", "text": "r"},
            ]},
            {"type": "tool_use", "id": "i", "name": "f", "input": {"a": 1}},
            {"type": "tool_result", "tool_use_id": "i", "content": "r", "is_error": null},
            {"type": "thinking", "thinking": "t", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "mid_conv_system", "content": "s"},
        ]);
        let read: Content = serde_json::from_value(blocks.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), blocks);
        let text: Content = serde_json::from_value(json!("a")).unwrap();
        assert_eq!(text, Content::Text("a".to_owned()));
        // Further fields are of no meaning here.
        let cached = json!([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"},
            "citations": null}]);
        let read: Content = serde_json::from_value(cached).unwrap();
        assert_eq!(read, Content::Blocks(vec![Block::Text { text: "a".to_owned() }]));
    }

    #[test]
    fn what_is_wrong_is_told_by_name() {
        let check = |json: Value, expected: &str| {
            let error = serde_json::from_value::<Content>(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(json!(5), "a text or a list of content blocks");
        check(json!([{"type": "server_tool_use"}]), "`server_tool_use`");
        check(json!([{"type": "text"}]), "`text`");
        check(json!([{"text": "a"}]), "`type`");
    }
}
