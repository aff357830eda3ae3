use lapwing_report::statistics::Interval;

use super::*;
use crate::falsify::{Cost, Diagnosis, FullPrecision, STUDY_SCHEMA_VERSION, Speed};

fn interval(mean: f64) -> Interval {
    Interval { estimate: mean, low: mean - 0.5, high: mean + 0.25, standard_error: Some(0.125) }
}

fn condition(name: &str, group: Group, parameter: Option<f64>, perplexity: f64) -> TreatmentResult {
    let score = |domain| DomainScore {
        domain,
        perplexity,
        divergence: perplexity / 99.0,
        agreement: 0.5,
        likelihood_improvement: interval(-0.25),
        divergence_improvement: interval(-0.125),
    };
    TreatmentResult {
        name: name.to_owned(),
        group,
        parameter,
        scores: vec![score(Domain::Home), score(Domain::Other)],
        divergence_by_position: (0..64).map(|i| 1.0 / f64::from(i + 1)).collect(),
        gram_shares: Some([0.25, 0.5]),
        passes: Some(false),
        reason: Some("KL rises at home".to_owned()),
    }
}

fn study() -> Study {
    let hypothesis = |id: &str, finding| Hypothesis {
        id: id.to_owned(),
        claim: "KLS helps".to_owned(),
        finding,
        condition: "kls".to_owned(),
        measure: "NLL".to_owned(),
        interval: interval(-0.5),
        statement: "it does not".to_owned(),
    };
    let studied = Studied {
        name: "a <b> model".to_owned(),
        n_window_tokens: 64,
        n_fit_rows: 1000,
        full_precision: vec![FullPrecision {
            domain: Domain::Home,
            perplexity: 20.5,
            negative_log_likelihood: 3.0,
        }],
        diagnostics: Diagnosis {
            increment_autocorrelation_lag_1: -0.5,
            increment_autocorrelation_lag_2: -0.25,
            lag_two_score: -12.0,
            coefficient: Some(0.5),
            coefficient_median: None,
            share_frozen: 0.75,
            gain_of_maximum_likelihood: 0.5,
        },
        conditions: vec![
            condition("raw", Group::Raw, None, 30.0),
            condition("kls", Group::Candidate, None, 40.0),
            condition("one gain 0", Group::GainSweep, Some(0.0), 90.0),
            condition("one gain 1", Group::GainSweep, Some(1.0), 30.0),
        ],
        costs: vec![Cost { name: "M = 128".into(), n_tracked_max: Some(128), row_us_p50: 7.5 }],
        speeds: vec![Speed {
            name: "raw".to_owned(),
            tokens_per_s: 111.5,
            ratio: 1.0,
            ratio_range: [1.0, 1.0],
            correction_us_p50: 0.0,
        }],
        accuracies: Vec::new(),
        hypotheses: vec![hypothesis("H1", Finding::Refuted), hypothesis("H2", Finding::Undecided)],
        gate: "none helps".to_owned(),
        unfitted: Vec::new(),
    };
    Study { schema_version: STUDY_SCHEMA_VERSION, seed: 7, subjects: vec![studied] }
}

#[test]
fn the_page_shows_every_part_and_escapes_names() {
    let page = html(&study(), "KLS <study>", &[("text".to_owned(), "wiki & co".to_owned())]);
    let check = |part: &str, n_times: usize| {
        assert_eq!(page.matches(part).count(), n_times, "{part}");
    };
    check("<figure>", 4);
    check("refuted", 2);
    check("undecided", 2);
    check("a &lt;b&gt; model", 3);
    check("<b> model", 0);
    check("KLS &lt;study&gt;", 2);
    check("wiki &amp; co", 1);
    check("M = 128", 1);
    check(">111.5<", 1);
    check("NaN", 0);
    check("://", 0);
}

#[test]
fn the_record_comes_back_from_json() {
    let study = study();
    let json = serde_json::to_string(&study).expect("plain data");
    assert_eq!(serde_json::from_str::<Study>(&json).expect("the same fields"), study);
}
