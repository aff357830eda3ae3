//! `/metrics`: under the names that dashboards for llama.cpp's server read, and under our own for each
//! loaded model. To ask loads nothing and counts as no use.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use lapwing_serving::message::State as WorkerState;

use crate::app::App;
use crate::models::{Leave, Left};

/// The text format of Prometheus.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Since when the counters count, in seconds since 1970.
const STARTED: HeaderName = HeaderName::from_static("process-start-time-unix");

/// A loaded model, as far as metrics tell of it.
struct OfModel {
    name: String,
    n_bytes: u64,
    load_seconds: f64,
    /// `None` while it says nothing.
    state: Option<WorkerState>,
}

pub(super) async fn metrics(State(app): State<App>) -> Response {
    let mut models = Vec::new();
    for loaded in app.models.loaded() {
        models.push(OfModel {
            name: loaded.name.clone(),
            n_bytes: loaded.n_bytes(),
            load_seconds: loaded.load.as_secs_f64(),
            state: loaded.look().await,
        });
    }
    let mut page = Page::default();
    totals(&app, &models, &mut page);
    departures(&app.models.left, &mut page);
    of_models(&models, &mut page);
    let started = (STARTED, app.started_s.to_string());
    ([(header::CONTENT_TYPE, CONTENT_TYPE.to_owned()), started], page.0).into_response()
}

fn totals(app: &App, models: &[OfModel], page: &mut Page) {
    let metrics = &app.metrics;
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let (prompt_seconds, seconds) = metrics.seconds();
    let (n_prompt, n_tokens) = (load(&metrics.n_prompt_tokens), load(&metrics.n_tokens));
    let sum = |of: fn(&WorkerState) -> usize| -> f64 {
        models.iter().filter_map(|model| model.state.as_ref()).map(|state| of(state) as f64).sum()
    };
    let n_running = sum(|state| state.n_running);
    let n_steps = sum(|state| usize::try_from(state.n_steps).unwrap_or(usize::MAX));
    let n_stepped = sum(|state| usize::try_from(state.n_tokens).unwrap_or(usize::MAX));
    let ratio = |number: f64, of: f64| if of == 0.0 { 0.0 } else { number / of };
    let mut tell = |name: &str, kind: &str, help: &str, value: f64| {
        page.head(name, kind, help);
        page.value(name, "", value);
    };
    tell("llamacpp:prompt_tokens_total", "counter", "Tokens of prompts that were read.", n_prompt);
    tell("llamacpp:prompt_seconds_total", "counter", "Seconds of reading prompts.", prompt_seconds);
    tell("llamacpp:tokens_predicted_total", "counter", "Tokens of answers.", n_tokens);
    tell(
        "llamacpp:tokens_predicted_seconds_total",
        "counter",
        "Seconds of making answers.",
        seconds,
    );
    tell("llamacpp:n_decode_total", "counter", "Steps of the loaded models.", n_steps);
    tell(
        "llamacpp:n_busy_slots_per_decode",
        "gauge",
        "Answers that went on in a step, on the average.",
        ratio(n_stepped, n_steps),
    );
    tell(
        "llamacpp:prompt_tokens_seconds",
        "gauge",
        "Tokens of prompts read in a second.",
        ratio(n_prompt, prompt_seconds),
    );
    tell(
        "llamacpp:predicted_tokens_seconds",
        "gauge",
        "Tokens of answers made in a second.",
        ratio(n_tokens, seconds),
    );
    tell("llamacpp:requests_processing", "gauge", "Answers that are being made.", n_running);
    let n_open = app.n_open() as f64;
    let n_deferred = (n_open - n_running).max(0.0);
    tell("llamacpp:requests_deferred", "gauge", "Requests that wait.", n_deferred);
    let n_reused = load(&metrics.n_reused_tokens);
    tell(
        "llamacpp:prompt_tokens_cached_total",
        "counter",
        "Tokens of prompts that kept sequences knew.",
        n_reused,
    );
    let power = app.power.manner();
    tell(
        "lapwing_power_duty",
        "gauge",
        "The share of the time in which models compute.",
        power.duty,
    );
    if let Ok(joules) = app.ledger.total_j() {
        let help = "What the processor took while requests were open, idle power with it.";
        tell("lapwing_energy_joules_total", "counter", help, joules);
    }
    if let Ok(n_pressures) = app.pressure.n_told() {
        let help = "How often the kernel said that memory is short.";
        tell("lapwing_memory_pressures_total", "counter", help, n_pressures as f64);
    }
    tell("lapwing_requests_total", "counter", "Answers that ended.", load(&metrics.n_requests));
    tell(
        "lapwing_requests_refused_total",
        "counter",
        "Requests for which there was no place.",
        load(&metrics.n_refused),
    );
    tell(
        "lapwing_requests_cancelled_total",
        "counter",
        "Answers that were given up.",
        load(&metrics.n_cancelled),
    );
}

/// Models that left memory, by the reason.
fn departures(left: &Left, page: &mut Page) {
    const NAME: &str = "lapwing_models_unloaded_total";
    page.head(NAME, "counter", "Models that left memory, by the reason.");
    for why in Leave::ALL {
        page.value(NAME, &format!("{{why=\"{}\"}}", why.word()), left.n(why) as f64);
    }
}

/// A number of a model's state.
type Number = fn(&OfModel) -> Option<f64>;

fn of_models(models: &[OfModel], page: &mut Page) {
    let gauges: [(&str, &str, &str, Number); 10] = [
        ("lapwing_model_resident_bytes", "gauge", "Memory of the model's process.", |model| {
            Some(model.n_bytes as f64)
        }),
        ("lapwing_model_load_seconds", "gauge", "How long loading took.", |model| {
            Some(model.load_seconds)
        }),
        ("lapwing_model_running", "gauge", "Answers that are being made.", |model| {
            Some(model.state.as_ref()?.n_running as f64)
        }),
        ("lapwing_model_waiting", "gauge", "Prompts that wait.", |model| {
            Some(model.state.as_ref()?.n_waiting as f64)
        }),
        ("lapwing_model_kept_sequences", "gauge", "Sequences that are kept.", |model| {
            Some(model.state.as_ref()?.n_kept as f64)
        }),
        ("lapwing_model_kept_bytes", "gauge", "Memory of kept sequences.", |model| {
            Some(model.state.as_ref()?.n_kept_bytes? as f64)
        }),
        ("lapwing_model_prompt_tokens_total", "counter", "Tokens of prompts.", |model| {
            Some(model.state.as_ref()?.n_prompt_tokens as f64)
        }),
        ("lapwing_model_reused_tokens_total", "counter", "Those that were known.", |model| {
            Some(model.state.as_ref()?.n_reused_tokens as f64)
        }),
        ("lapwing_model_tokens_total", "counter", "Tokens that were chosen.", |model| {
            Some(model.state.as_ref()?.n_tokens as f64)
        }),
        ("lapwing_model_steps_total", "counter", "Steps of the model.", |model| {
            Some(model.state.as_ref()?.n_steps as f64)
        }),
    ];
    for (name, kind, help, number) in gauges {
        page.head(name, kind, help);
        for model in models {
            if let Some(value) = number(model) {
                page.value(name, &labelled(&model.name), value);
            }
        }
    }
}

/// The label that tells a model.
fn labelled(name: &str) -> String {
    let name = name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{{model=\"{name}\"}}")
}

/// What is told.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, label: &str, value: f64) {
        let _ = writeln!(self.0, "{name}{label} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_told_apart_by_a_label() {
        let model = |name: &str, state| OfModel {
            name: name.to_owned(),
            n_bytes: 7,
            load_seconds: 0.5,
            state,
        };
        let state = WorkerState { n_running: 2, ..WorkerState::default() };
        let mut page = Page::default();
        of_models(&[model("a\"b", Some(state)), model("c", None)], &mut page);
        let lines: Vec<&str> = page.0.lines().collect();
        assert!(lines.contains(&"# TYPE lapwing_model_running gauge"));
        assert!(lines.contains(&"lapwing_model_running{model=\"a\\\"b\"} 2"));
        assert!(lines.contains(&"lapwing_model_resident_bytes{model=\"c\"} 7"));
        assert!(!page.0.contains("lapwing_model_running{model=\"c\"}"), "it said nothing");
        let mut values = lines.iter().filter(|line| !line.starts_with('#'));
        assert!(values.all(|line| line.split(' ').count() == 2));
    }
}
