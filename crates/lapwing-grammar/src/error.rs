//! Why an answer cannot keep to a form.

use lapwing_text::UnwrittenCalls;

/// Why an answer cannot keep to a form.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum FormError {
    /// A schema is beyond what is tried.
    #[error("the schema is too large: {what} is {found}, more than {allowed}")]
    TooLarge { what: &'static str, found: u64, allowed: u64 },
    /// A schema cannot be kept to.
    #[error("cannot keep to the schema: {reason}")]
    Schema { reason: String },
    /// To compile it takes too long.
    #[error("cannot keep to the schema: to compile it takes more than {seconds} s")]
    TooSlow { seconds: f64 },
    /// There is no function to call.
    #[error("no function to call is offered")]
    NoTools,
    /// There is no such function.
    #[error("no function of the name that is to be called is offered")]
    NoSuchTool,
    /// A function's name would not be read back.
    #[error(
        "the name of a function has other characters than letters, digits and _ - . or is empty"
    )]
    ToolName,
    /// The parameters of a function are in the way of how the model writes calls.
    #[error("cannot keep to calls of a function: {reason}")]
    Parameters { reason: String },
    /// The model's way to write calls is none that is known.
    #[error("cannot keep to calls")]
    Unwritten(#[from] UnwrittenCalls),
    /// Others are at it.
    #[error("cannot keep to a form now: {n_compiling} others are being compiled")]
    Busy { n_compiling: usize },
    /// The system gives no thread.
    #[error("cannot begin to compile a form")]
    Thread(#[source] std::io::Error),
}
