//! Metrics for fleets, pushed to a collector: OTLP over HTTP, as protobuf.
//!
//! Numbers go out, with the names of models and devices; nothing of prompts or answers. Names are those
//! of OpenTelemetry's conventions for generative models where there are such, `lapwing.` begins the
//! others. One thread wakes once an interval (`OTEL_METRIC_EXPORT_INTERVAL`, a minute) and waits for the
//! collector: answers never do.
//!
//! Source: <https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/>

mod pusher;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lapwing_measure::bench::Header;
use lapwing_measure::record::Configuration;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider as _};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};

use crate::metrics::Metrics;
use crate::models::Models;
use pusher::Pusher;

/// Where a collector takes metrics, below its address.
const PATH: &str = "/v1/metrics";

/// Seconds of a whole answer, as the conventions divide them.
const DURATION_S: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Seconds to the first token, likewise.
const FIRST_TOKEN_S: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Seconds a token, likewise.
const PER_TOKEN_S: [f64; 13] =
    [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];

/// One answer, as far as metrics tell of it.
pub(crate) struct Answered<'a> {
    pub(crate) of: &'a Configuration,
    pub(crate) operation: &'static str,
    pub(crate) n_prompt: usize,
    pub(crate) n_known: usize,
    pub(crate) n_tokens: usize,
    /// Since its request came.
    pub(crate) duration_s: f64,
    /// `None` where it has no token.
    pub(crate) first_token_s: Option<f64>,
    /// `None` where it has no two.
    pub(crate) per_token_s: Option<f64>,
    pub(crate) energy_j: Option<f64>,
    pub(crate) was_given_up: bool,
}

/// What is looked at when it is time to push, and whose it is.
pub(crate) struct Sources<'a> {
    pub(crate) header: &'a Header,
    pub(crate) models: &'a Arc<Models>,
    pub(crate) metrics: &'a Arc<Metrics>,
    /// Requests that are answered or wait.
    pub(crate) n_open: &'a Arc<AtomicUsize>,
}

/// What is pushed, and where to; nothing where no collector was named.
#[derive(Debug, Default)]
pub(crate) struct Exports(Mutex<Option<Export>>);

#[derive(Debug)]
struct Export {
    url: String,
    provider: SdkMeterProvider,
    instruments: Arc<Instruments>,
}

/// What answers add to.
#[derive(Debug)]
struct Instruments {
    duration: Histogram<f64>,
    first_token: Histogram<f64>,
    per_token: Histogram<f64>,
    tokens: Counter<u64>,
    known_tokens: Counter<u64>,
    energy: Counter<f64>,
}

impl Exports {
    fn now(&self) -> MutexGuard<'_, Option<Export>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Push to `url` from now on, or no longer.
    pub(crate) fn heed(&self, url: Option<String>, sources: &Sources<'_>) {
        let mut now = self.now();
        if now.as_ref().map(|export| &export.url) == url.as_ref() {
            return;
        }
        let begun = url.map(|url| Export::begin(url, sources));
        let former = std::mem::replace(
            &mut *now,
            begun.and_then(|begun| {
                begun.inspect_err(|error| tracing::error!(%error, "metrics are not pushed")).ok()
            }),
        );
        drop(now);
        // Its last push waits for the collector.
        if let Some(former) = former {
            std::thread::spawn(move || former.provider.shutdown());
        }
    }

    /// An answer was made.
    pub(crate) fn note(&self, answered: &Answered<'_>) {
        let instruments = self.now().as_ref().map(|export| Arc::clone(&export.instruments));
        if let Some(instruments) = instruments {
            instruments.add(answered);
        }
    }

    /// Push what there is, and end. Waits for the collector, some seconds at most.
    pub(crate) fn end(&self) {
        let export = self.now().take();
        if let Some(Err(error)) = export.map(|export| export.provider.shutdown()) {
            tracing::debug!(%error, "the last metrics were not pushed");
        }
    }
}

impl Export {
    fn begin(url: String, sources: &Sources<'_>) -> Result<Export, ExporterBuildError> {
        let exporter = MetricExporter::builder()
            .with_http()
            .with_endpoint(endpoint(&url))
            .with_http_client(Pusher::new())
            .build()?;
        let Header { host, run_id, program } = sources.header;
        let version = program.version.clone().unwrap_or_default();
        // What the user says in OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME counts.
        let own = [
            KeyValue::new("service.name", "lapwing"),
            KeyValue::new("service.version", version),
            KeyValue::new("service.instance.id", run_id.clone()),
            KeyValue::new("host.name", host.clone()),
            KeyValue::new("host.arch", std::env::consts::ARCH),
            KeyValue::new("os.type", std::env::consts::OS),
        ];
        let said = Resource::builder().build();
        let is_said = |value: &opentelemetry::Value| !value.as_str().starts_with("unknown_service");
        let said = said.iter().filter(|(_, value)| is_said(value));
        let said: Vec<_> =
            said.map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
        let resource = Resource::builder_empty().with_attributes(own).with_attributes(said);
        let provider = SdkMeterProvider::builder()
            .with_resource(resource.build())
            .with_reader(PeriodicReader::builder(exporter).build())
            .build();
        let meter = provider.meter("lapwing");
        observe(&meter, sources);
        tracing::info!(url, "metrics are pushed");
        Ok(Export { url, provider, instruments: Arc::new(Instruments::new(&meter)) })
    }
}

/// Where a collector at `url` takes metrics.
fn endpoint(url: &str) -> String {
    let base = url.trim_end_matches('/');
    if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") }
}

impl Instruments {
    fn new(meter: &Meter) -> Instruments {
        let seconds = |name: &'static str, what: &'static str, bounds: &[f64]| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(what);
            histogram.with_boundaries(bounds.to_vec()).build()
        };
        let tokens = |name: &'static str, what: &'static str| {
            meter.u64_counter(name).with_unit("{token}").with_description(what).build()
        };
        Instruments {
            duration: seconds(
                "gen_ai.server.request.duration",
                "From the request to the end of its answer.",
                &DURATION_S,
            ),
            first_token: seconds(
                "gen_ai.server.time_to_first_token",
                "To the first token, without the loading of the model.",
                &FIRST_TOKEN_S,
            ),
            per_token: seconds(
                "gen_ai.server.time_per_output_token",
                "A token behind the first, others' turns with it.",
                &PER_TOKEN_S,
            ),
            tokens: tokens("lapwing.tokens", "Tokens of prompts and of answers."),
            known_tokens: tokens("lapwing.tokens.known", "Tokens of prompts that were not read."),
            energy: meter
                .f64_counter("lapwing.energy")
                .with_unit("J")
                .with_description("What answers took of the processor, idle power with it.")
                .build(),
        }
    }

    fn add(&self, answered: &Answered<'_>) {
        let of = &answered.of;
        let device = of.device_used.clone().unwrap_or_default();
        let mut about = vec![
            KeyValue::new("gen_ai.operation.name", answered.operation),
            KeyValue::new("gen_ai.provider.name", "lapwing"),
            KeyValue::new("gen_ai.request.model", of.model.clone()),
            KeyValue::new("gen_ai.response.model", of.model.clone()),
            KeyValue::new("lapwing.backend", of.backend.clone()),
            KeyValue::new("lapwing.device", device),
        ];
        for (kind, n_tokens) in [("input", answered.n_prompt), ("output", answered.n_tokens)] {
            let kind = KeyValue::new("gen_ai.token.type", kind);
            self.tokens.add(n_tokens as u64, &[&about[..], &[kind]].concat());
        }
        self.known_tokens.add(answered.n_known as u64, &about);
        if let Some(joules) = answered.energy_j {
            self.energy.add(joules, &about);
        }
        if let Some(seconds) = answered.first_token_s {
            self.first_token.record(seconds, &about);
        }
        if let Some(seconds) = answered.per_token_s {
            self.per_token.record(seconds, &about);
        }
        if answered.was_given_up {
            about.push(KeyValue::new("error.type", "cancelled"));
        }
        self.duration.record(answered.duration_s, &about);
    }
}

/// What is looked at when it is time to push.
fn observe(meter: &Meter, sources: &Sources<'_>) {
    let models = Arc::downgrade(sources.models);
    meter
        .u64_observable_gauge("lapwing.model.memory")
        .with_unit("By")
        .with_description("Resident memory of a loaded model's process.")
        .with_callback(move |observer| {
            let models = Weak::<Models>::upgrade(&models);
            for loaded in models.iter().flat_map(|models| models.loaded()) {
                let about = [
                    KeyValue::new("gen_ai.request.model", loaded.name.clone()),
                    KeyValue::new("lapwing.backend", loaded.card.backend.clone()),
                    KeyValue::new("lapwing.device", loaded.card.device.clone()),
                ];
                observer.observe(loaded.n_bytes(), &about);
            }
        })
        .build();
    let n_open = Arc::clone(sources.n_open);
    meter
        .u64_observable_gauge("lapwing.requests.open")
        .with_unit("{request}")
        .with_description("Requests that are answered or wait.")
        .with_callback(move |observer| {
            observer.observe(n_open.load(Ordering::Relaxed) as u64, &[]);
        })
        .build();
    let metrics = Arc::clone(sources.metrics);
    meter
        .u64_observable_counter("lapwing.requests.refused")
        .with_unit("{request}")
        .with_description("Requests for which there was no place.")
        .with_callback(move |observer| {
            let n_refused = metrics.n_refused.load(Ordering::Relaxed);
            observer.observe(n_refused, &[]);
        })
        .build();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_go_below_the_address_of_a_collector() {
        let check = |url: &str, expected: &str| assert_eq!(endpoint(url), expected);
        check("http://localhost:4318", "http://localhost:4318/v1/metrics");
        check("https://fleet.example/otlp/", "https://fleet.example/otlp/v1/metrics");
        check("http://localhost:4318/v1/metrics", "http://localhost:4318/v1/metrics");
    }
}
