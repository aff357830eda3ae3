//! How far a long piece of work has come: a bar on a terminal, a few plain lines elsewhere.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::layout::stderr_width;
use super::{Printer, human_bytes, on_one_line};

/// Plain output says so at every quarter.
const N_PLAIN_STEPS: u64 = 4;

/// One running progress display; vanishes when dropped.
#[derive(Debug)]
pub struct Progress<'a> {
    printer: &'a Printer,
    what: String,
    n_bytes: Option<u64>,
    n_done: u64,
    n_plain_steps: u64,
    bar: Option<ProgressBar>,
}

impl<'a> Progress<'a> {
    pub(super) fn start(printer: &'a Printer, what: &str, n_bytes: Option<u64>) -> Self {
        let on_terminal = std::io::stderr().is_terminal() && !printer.is_quiet();
        let bar = on_terminal.then(|| printer.bars.add(new_bar(what, n_bytes)));
        if bar.is_none() {
            let size = n_bytes.map(|n| format!(" ({})", human_bytes(n))).unwrap_or_default();
            printer.note(format!("{what}{size}"));
        }
        Self { printer, what: what.into(), n_bytes, n_done: 0, n_plain_steps: 0, bar }
    }

    /// `n_done` bytes are done in all.
    pub fn set(&mut self, n_done: u64) {
        self.n_done = n_done;
        match &self.bar {
            Some(bar) => bar.set_position(n_done),
            None => self.print_step(),
        }
    }

    /// `n_done` bytes were there before this run: shown, but not counted for the speed.
    pub fn resume_at(&mut self, n_done: u64) {
        self.set(n_done);
        if let Some(bar) = &self.bar {
            bar.reset_eta();
        }
    }

    fn print_step(&mut self) {
        let Some(n_bytes) = self.n_bytes.filter(|n| *n > 0) else { return };
        let step = (u128::from(self.n_done) * u128::from(N_PLAIN_STEPS) / u128::from(n_bytes))
            .min(u128::from(N_PLAIN_STEPS)) as u64;
        // The end is announced by whoever waited for it.
        if step > self.n_plain_steps && step < N_PLAIN_STEPS {
            self.n_plain_steps = step;
            self.printer.note(format!(
                "{}: {} of {}",
                self.what,
                human_bytes(self.n_done),
                human_bytes(n_bytes)
            ));
        }
    }
}

/// Of steps that were counted, and of those that nobody counted. What does not fit is cut.
const WITH_STEPS: &str = "{prefix} [{bar:24}] {pos}/{len} {wide_msg}";
const WITH_STEPS_NARROW: &str = "{prefix} {pos}/{len} {wide_msg}";
const WITHOUT_STEPS: &str = "{prefix} {wide_msg}";

/// Bars have no place on a terminal with fewer columns.
const N_COLUMNS_OF_BARS: usize = 70;

fn is_narrow() -> bool {
    stderr_width().is_some_and(|width| width < N_COLUMNS_OF_BARS)
}

/// A running display of counted steps; vanishes when dropped. Nothing off a terminal.
#[derive(Debug)]
pub struct Steps {
    bar: Option<ProgressBar>,
    /// Of the stage that is shown; 0 before the first one.
    n_steps: Cell<usize>,
}

impl Steps {
    pub(super) fn start(printer: &Printer, what: &str) -> Self {
        let on_terminal = std::io::stderr().is_terminal() && !printer.is_quiet();
        let bar = on_terminal.then(|| {
            let bar = printer.bars.add(ProgressBar::new(0));
            // How many steps there are is not known yet.
            set_template(&bar, WITHOUT_STEPS);
            bar.set_prefix(on_one_line(what));
            bar
        });
        Self { bar, n_steps: Cell::new(0) }
    }

    /// Whether somebody sees it.
    pub fn is_shown(&self) -> bool {
        self.bar.is_some()
    }

    /// `n_done` of `n_steps` are done; `name` is next. Other steps than before are a new stage.
    pub fn set(&self, n_done: usize, n_steps: usize, name: &str) {
        let Some(bar) = &self.bar else { return };
        if self.n_steps.replace(n_steps) != n_steps {
            // Drawn without numbers while they are of the stage before.
            set_template(bar, WITHOUT_STEPS);
        }
        bar.set_message(on_one_line(name));
        if n_steps != 0 {
            set_template(bar, if is_narrow() { WITH_STEPS_NARROW } else { WITH_STEPS });
        }
        // Both at once: what is drawn between the two would be of no stage.
        bar.update(|state| {
            state.set_len(n_steps as u64);
            state.set_pos(n_done as u64);
        });
        // A stage that has just begun is shown, however soon it follows what was drawn last.
        bar.force_draw();
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The templates are fixed: if one were wrong, the style before it still shows the bar.
fn set_template(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
}

fn new_bar(what: &str, n_bytes: Option<u64>) -> ProgressBar {
    let bar = match n_bytes {
        Some(n_bytes) => ProgressBar::new(n_bytes),
        None => ProgressBar::new_spinner(),
    };
    let template = match n_bytes {
        Some(_) if is_narrow() => "{wide_msg} {decimal_bytes}/{decimal_total_bytes}",
        Some(_) => {
            "{msg} [{bar:24}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}"
        }
        None if is_narrow() => "{spinner} {wide_msg} {decimal_bytes}",
        None => "{spinner} {msg} {decimal_bytes} {decimal_bytes_per_sec}",
    };
    // The template is fixed: if it were wrong, the default style still shows the bar.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(on_one_line(what));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
