//! Numbers with intervals, and pages that show them.
//!
//! - [`statistics`]: medians, quantiles and histograms of samples, intervals of what they were drawn
//!   from, and the one way to an index from a seed.
//! - [`Page`], [`Table`], [`Finding`], [`plot`], [`Legend`]: one HTML file that loads nothing, well-formed XML as
//!   well as HTML, light and dark, with everything that it is told escaped.
//! - [`number`]: numbers and dates as people read them.
//!
//! Must not know: records, models, what the numbers are about, files, the terminal.
//!
//! One more plot is a function of [`plot`] that gives the drawing as an SVG element in the page's
//! colours; one more estimate stands beside [`statistics::median_interval`] and gives the same
//! [`statistics::Interval`].

pub mod number;
pub mod plot;
pub mod statistics;

mod markup;
mod page;
mod table;

pub use markup::{Markup, printable};
pub use page::{Finding, Legend, Page, Tone};
pub use table::{Cell, Table, escape_markdown};
