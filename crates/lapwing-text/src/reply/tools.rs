//! The functions that a prompt offers.

use serde_json::Value;

/// Descriptions of functions, as JSON schemas in the form of OpenAI or bare.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tools(Vec<Value>);

impl Tools {
    pub(super) fn new(tools: &[Value]) -> Tools {
        Tools(tools.iter().map(|tool| tool.get("function").unwrap_or(tool).clone()).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a function of this name is offered.
    pub(super) fn offers(&self, name: &str) -> bool {
        self.of_name(name).is_some()
    }

    /// Whether a parameter is a string; `None` where no schema says.
    pub(super) fn is_string(&self, name: &str, parameter: &str) -> Option<bool> {
        let schema = self.of_name(name)?.get("parameters")?.get("properties")?.get(parameter)?;
        match schema.get("type")? {
            Value::String(kind) => Some(kind == "string"),
            Value::Array(kinds) => {
                Some(kinds.iter().all(|kind| kind == "string" || kind == "null"))
            }
            _ => None,
        }
    }

    fn of_name(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|tool| tool.get("name").and_then(Value::as_str) == Some(name))
    }
}
