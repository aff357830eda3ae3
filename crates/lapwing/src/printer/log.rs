//! What libraries warn of, as all other warnings are printed.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::Printer;

/// Prints every event that the filter lets through as a warning, without a date.
pub struct AsWarnings;

impl<S, N> FormatEvent<S, N> for AsWarnings
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        _: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        context.format_fields(Writer::new(&mut text), event)?;
        // Warnings are never kept back.
        Printer::new(false).warning(text);
        Ok(())
    }
}
