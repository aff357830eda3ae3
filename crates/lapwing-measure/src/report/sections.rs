//! What stands on a page, one file a section, in the order of the page.

mod conditions;
mod configurations;
mod context;
mod distributions;
mod energy;
mod history;
mod in_use;
mod memory;
mod nulls;
mod starting;
mod step;
mod summary;
mod throughput;

use lapwing_report::Page;

use super::overview::Overview;

pub(crate) use in_use::table as use_table;
pub(crate) use summary::table_for_text as summary_for_text;
pub(crate) use throughput::table as throughput_table;

/// Write every section that the records have something for.
pub(crate) fn write(overview: &Overview, page: &mut Page) {
    summary::write(overview, page);
    configurations::write(overview, page);
    throughput::write(overview, page);
    distributions::write(overview, page);
    context::write(overview, page);
    memory::write(overview, page);
    energy::write(overview, page);
    step::write(overview, page);
    starting::write(overview, page);
    in_use::write(overview, page);
    history::write(overview, page);
    conditions::write(overview, page);
    nulls::write(overview, page);
}
