//! The record of a study as one HTML page that needs nothing else.

mod chart;

use std::fmt::Write as _;

use lapwing_eval::Domain;

use chart::{Frame, Line, bars, escape, lines, number};

use super::{DomainScore, Finding, Group, Hypothesis, Studied, Study, TreatmentResult};

/// Positions that one point of a chart stands for.
const N_POSITIONS_A_POINT: usize = 16;

/// One page for all subjects; `facts` (what was run, on what, with which versions) stand on top.
#[must_use]
pub fn html(study: &Study, title: &str, facts: &[(String, String)]) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>"
    );
    page.push_str("<dl>");
    for (name, value) in facts {
        let _ = write!(page, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    }
    let _ = write!(page, "<dt>seed</dt><dd>{}</dd></dl>", study.seed);
    overview(&mut page, study);
    for studied in &study.subjects {
        of_studied(&mut page, studied);
    }
    page.push_str("</main></body></html>\n");
    page
}

/// Which claim fared how on which model.
fn overview(page: &mut String, study: &Study) {
    page.push_str("<table><thead><tr><th>model<th>full precision<th>quantised");
    page.push_str("<th>KL, nats<th>H1<th>H2<th>H3<th>gate</tr></thead><tbody>");
    for studied in &study.subjects {
        let raw = studied.conditions.first().and_then(|raw| at_home(raw));
        let full = studied.full_precision.first().map(|full| full.perplexity);
        let _ = write!(
            page,
            "<tr><td>{}<td class=n>{}<td class=n>{}<td class=n>{}",
            escape(&studied.name),
            full.map_or(String::new(), number),
            raw.map_or(String::new(), |raw| number(raw.perplexity)),
            raw.map_or(String::new(), |raw| number(raw.divergence)),
        );
        for hypothesis in &studied.hypotheses {
            let _ = write!(page, "<td>{}", badge(hypothesis.finding));
        }
        let _ = write!(page, "<td>{}</tr>", escape(&studied.gate));
    }
    page.push_str("</tbody></table>");
}

fn of_studied(page: &mut String, studied: &Studied) {
    let _ = write!(page, "<section><h2>{}</h2>", escape(&studied.name));
    for hypothesis in &studied.hypotheses {
        verdict(page, hypothesis);
    }
    page.push_str("<div class=charts>");
    figure(
        page,
        "One gain for all tokens: KL from full precision",
        &sweep(studied, |score| score.divergence, "KL, nats a token"),
    );
    figure(
        page,
        "One gain for all tokens: perplexity",
        &sweep(studied, |score| score.perplexity, "perplexity"),
    );
    figure(page, "KL by position in the window", &by_position(studied));
    let costs: Vec<(String, f64)> =
        studied.costs.iter().map(|cost| (cost.name.clone(), cost.row_us_p50)).collect();
    figure(page, "Time of the stage for a row", &bars("Time of the stage", "µs", &costs));
    page.push_str("</div>");
    conditions(page, studied);
    speeds(page, studied);
    diagnosis(page, studied);
    page.push_str("</section>");
}

fn verdict(page: &mut String, hypothesis: &Hypothesis) {
    let Hypothesis { id, claim, finding, measure, interval, statement, .. } = hypothesis;
    let _ = write!(
        page,
        "<p class=claim>{} <b>{}: {}.</b> {}. <span class=small>{}: {:+.4} [{:+.4}, {:+.4}]</span>",
        badge(*finding),
        escape(id),
        escape(claim),
        escape(statement),
        escape(measure),
        interval.estimate,
        interval.low,
        interval.high,
    );
}

fn figure(page: &mut String, caption: &str, chart: &str) {
    if !chart.is_empty() {
        let _ = write!(page, "<figure><figcaption>{caption}</figcaption>{chart}</figure>");
    }
}

fn sweep(studied: &Studied, value: impl Fn(&DomainScore) -> f64, y: &str) -> String {
    let points = studied
        .conditions
        .iter()
        .filter(|condition| condition.group == Group::GainSweep)
        .filter_map(|condition| Some((condition.parameter?, value(at_home(condition)?))));
    let line = Line { name: "one gain".to_owned(), points: points.collect(), marked: true };
    lines(&Frame { title: y, x: "gain K (1 changes nothing)", y, logarithmic: true }, &[line])
}

fn by_position(studied: &Studied) -> String {
    let mut drawn = Vec::new();
    for condition in studied.conditions.iter().filter(|condition| is_drawn(studied, condition)) {
        let groups = condition.divergence_by_position.chunks(N_POSITIONS_A_POINT);
        let points = groups.enumerate().map(|(idx, group)| {
            let finite: Vec<f64> = group.iter().copied().filter(|kl| kl.is_finite()).collect();
            let middle = (idx * N_POSITIONS_A_POINT) as f64 + group.len() as f64 / 2.0;
            (middle, finite.iter().sum::<f64>() / finite.len() as f64)
        });
        drawn.push(Line { name: condition.name.clone(), points: points.collect(), marked: false });
    }
    let (x, y) = ("position in the window", "KL, nats a token");
    lines(&Frame { title: "KL by position", x, y, logarithmic: false }, &drawn)
}

/// The raw model, the KLS of the first hypothesis, and the best correction of each other kind.
fn is_drawn(studied: &Studied, condition: &TreatmentResult) -> bool {
    let best_head_map = studied
        .conditions
        .iter()
        .filter(|other| other.name.starts_with("head map"))
        .filter_map(|other| Some((other, at_home(other)?.divergence)))
        .min_by(|one, other| one.1.total_cmp(&other.1));
    condition.group == Group::Raw
        || condition.name == "bias"
        || studied.hypotheses.first().is_some_and(|first| first.condition == condition.name)
        || best_head_map.is_some_and(|(best, _)| best.name == condition.name)
}

fn conditions(page: &mut String, studied: &Studied) {
    page.push_str("<div class=wide><table><thead><tr><th>condition<th>perplexity<th>KL, nats");
    page.push_str("<th>KL saved, nats<th>same top token<th>other domain: perplexity<th>KL, nats");
    page.push_str("<th>KL saved, nats<th>repeats<th>verdict</tr></thead><tbody>");
    for condition in &studied.conditions {
        let _ = write!(page, "<tr><td>{}", escape(&condition.name));
        score_cells(page, at_home(condition), true);
        let other = condition.scores.iter().find(|score| score.domain == Domain::Other);
        score_cells(page, other, false);
        let repeats = condition.gram_shares.map_or(String::new(), |[raw, corrected]| {
            format!("{:.1} % → {:.1} %", raw * 100.0, corrected * 100.0)
        });
        let reason = condition.reason.as_deref().unwrap_or_default();
        let passes = match condition.passes {
            Some(true) => "passes: ",
            Some(false) => "",
            None => "",
        };
        let _ = write!(page, "<td class=n>{repeats}<td>{passes}{}</tr>", escape(reason));
    }
    page.push_str("</tbody></table></div>");
}

fn score_cells(page: &mut String, score: Option<&DomainScore>, with_agreement: bool) {
    let Some(score) = score else {
        page.push_str(if with_agreement { "<td><td><td><td>" } else { "<td><td><td>" });
        return;
    };
    let saved = score.divergence_improvement;
    let _ = write!(
        page,
        "<td class=n>{}<td class=n>{}<td class=n>{:+.4} <span class=small>[{:+.4}, {:+.4}]</span>",
        number(score.perplexity),
        number(score.divergence),
        saved.estimate,
        saved.low,
        saved.high,
    );
    if with_agreement {
        let _ = write!(page, "<td class=n>{:.1} %", score.agreement * 100.0);
    }
}

fn speeds(page: &mut String, studied: &Studied) {
    page.push_str("<table><thead><tr><th>generation<th>tokens a second<th>ratio to raw");
    page.push_str("<th>range<th>stage, µs</tr></thead><tbody>");
    for speed in &studied.speeds {
        let [least, largest] = speed.ratio_range;
        let _ = write!(
            page,
            "<tr><td>{}<td class=n>{:.1}<td class=n>{:.3}<td class=n>{least:.3} to {largest:.3}\
             <td class=n>{:.1}</tr>",
            escape(&speed.name),
            speed.tokens_per_s,
            speed.ratio,
            speed.correction_us_p50,
        );
    }
    page.push_str("</tbody></table>");
    if studied.accuracies.is_empty() {
        return;
    }
    page.push_str("<table><thead><tr><th>task<th>score<th>value<th>items</tr></thead><tbody>");
    for accuracy in &studied.accuracies {
        let error = accuracy.standard_error.map_or(String::new(), |error| format!(" ± {error:.3}"));
        let _ = write!(
            page,
            "<tr><td>{}<td>{}<td class=n>{:.3}{error}<td class=n>{}</tr>",
            escape(&accuracy.name),
            escape(&accuracy.score),
            accuracy.value,
            accuracy.n_items,
        );
    }
    page.push_str("</tbody></table>");
}

fn diagnosis(page: &mut String, studied: &Studied) {
    let found = &studied.diagnostics;
    let coefficient =
        |value: Option<f64>| value.map_or("none".to_owned(), |value| format!("{value:.3}"));
    let _ = write!(
        page,
        "<p class=small>Increments of logits over {} rows: autocorrelation {:.3} at lag 1, {:.3} \
         at lag 2 ({:.0} standard errors from 0); coefficient a {} pooled, {} for the token in \
         the middle (1 under the model); the published estimator freezes {:.2} % of the \
         vocabulary; the one gain of maximum likelihood is {:.3}.</p>",
        studied.n_fit_rows,
        found.increment_autocorrelation_lag_1,
        found.increment_autocorrelation_lag_2,
        found.lag_two_score.abs(),
        coefficient(found.coefficient),
        coefficient(found.coefficient_median),
        found.share_frozen * 100.0,
        found.gain_of_maximum_likelihood,
    );
}

fn badge(finding: Finding) -> String {
    let (class, word) = match finding {
        Finding::Supported => ("yes", "supported"),
        Finding::Refuted => ("no", "refuted"),
        Finding::Undecided => ("open", "undecided"),
    };
    format!("<span class=\"badge {class}\">{word}</span>")
}

fn at_home(condition: &TreatmentResult) -> Option<&DomainScore> {
    condition.scores.iter().find(|score| score.domain == Domain::Home)
}

const STYLE: &str = include_str!("page/style.css");

#[cfg(test)]
mod tests;
