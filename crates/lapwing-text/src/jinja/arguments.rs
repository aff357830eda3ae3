//! The arguments of a call.

use std::sync::Arc;

use super::Fail;
use super::value::Value;

/// The arguments of one call.
#[derive(Debug, Default)]
pub(super) struct CallArgs {
    pub(super) positional: Vec<Value>,
    pub(super) named: Vec<(Arc<str>, Value)>,
}

impl CallArgs {
    /// The arguments in the order of `names`.
    pub(super) fn bind<const N: usize>(
        self,
        function: &str,
        names: [&str; N],
    ) -> Result<[Option<Value>; N], Fail> {
        let mut bound = [const { None }; N];
        if self.positional.len() > N {
            let message = format!("{function}() takes at most {N} arguments");
            return Err(Fail::other(message));
        }
        for (slot, value) in bound.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.named {
            match names.iter().position(|known| **known == *name) {
                Some(idx) if bound[idx].is_none() => bound[idx] = Some(value),
                Some(_) => {
                    let message = format!("{function}() got multiple values for '{name}'");
                    return Err(Fail::other(message));
                }
                None => {
                    let message = format!("{function}() got an unexpected argument '{name}'");
                    return Err(Fail::other(message));
                }
            }
        }
        Ok(bound)
    }
}
