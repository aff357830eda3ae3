//! Rules of a grammar in the library's language: one like Lark, with JSON schemas and tokens in it.

use lapwing_text::Written;
use serde_json::{Value, json};

use crate::alternatives;
use crate::bounds;
use crate::error::FormError;

/// White space that may stand between two parts of JSON: models write one blank, or a line and its
/// indentation. Without a bound, small models go on with it to the end of their tokens.
const WHITE_SPACE: &str = r"[ ]|\n[ ]{0,20}";

/// Rules of a grammar, put together.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    text: String,
}

impl Rules {
    /// A rule `name: body`.
    pub(crate) fn rule(&mut self, name: &str, body: &str) {
        self.text.push_str(&format!("{name}: {body}\n"));
    }

    /// All of them.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// A text in a rule.
pub(crate) fn literal(text: &str) -> String {
    // Two escapes that JSON leaves out and the library wants.
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A marker in a rule.
pub(crate) fn marker(written: Written) -> String {
    match written.token {
        Some(token) => format!("<[{token}]>"),
        None => literal(written.spelling),
    }
}

/// A schema in a rule.
pub(crate) fn schema(schema: &Value) -> Result<String, FormError> {
    bounds::check(schema)?;
    let mut schema = match schema {
        Value::Object(_) => schema.clone(),
        // What anything fits, or nothing.
        Value::Bool(fits) => json!({"anyOf": [fits]}),
        _ => {
            let reason = "it is no JSON object".to_owned();
            return Err(FormError::Schema { reason });
        }
    };
    alternatives::tell_apart(&mut schema);
    if let Some(members) = schema.as_object_mut() {
        let options = json!({"whitespace_flexible": false, "whitespace_pattern": WHITE_SPACE});
        members.insert("x-guidance".to_owned(), options);
    }
    Ok(format!("%json {schema}"))
}
