//! The record of a study as one HTML page that needs nothing else.

use lapwing_eval::Domain;
use lapwing_report::plot::{self, Bar, Horizontal, Point, Series, Style};
use lapwing_report::statistics::Interval;
use lapwing_report::{Cell, Legend, Page, Table, Tone, number};

use super::{DomainScore, Finding, Group, Hypothesis, Studied, Study, TreatmentResult};

/// Positions that one point of a plot stands for.
const N_POSITIONS_A_POINT: usize = 16;

/// One page for all subjects; `facts` (what was run, on what, with which versions) stand on top.
#[must_use]
pub fn html(study: &Study, title: &str, facts: &[(String, String)]) -> String {
    let mut page = Page::new();
    page.section("overview", "Overview", |page| page.table(&overview(study)));
    for (idx, studied) in study.subjects.iter().enumerate() {
        page.section(&format!("model-{idx}"), &studied.name, |page| of_studied(studied, page));
    }
    let mut facts = facts.to_vec();
    facts.push(("seed".to_owned(), study.seed.to_string()));
    page.into_html(title, &facts, &[])
}

/// The verdicts, a row each: model, claim, finding, its figure with the interval, and why.
#[must_use]
pub fn verdicts(study: &Study) -> Vec<Vec<String>> {
    let of_studied = |studied: &Studied| -> Vec<Vec<String>> {
        let row = |Hypothesis { id, finding, interval, statement, .. }: &Hypothesis| {
            let finding = word(*finding).0.to_owned();
            vec![studied.name.clone(), id.clone(), finding, signed(interval), statement.clone()]
        };
        studied.hypotheses.iter().map(row).collect()
    };
    study.subjects.iter().flat_map(of_studied).collect()
}

/// Which claim fared how on which model.
fn overview(study: &Study) -> Table {
    let claims = study.subjects.first().map_or(&[][..], |first| &first.hypotheses);
    let ids = claims.iter().map(|claim| claim.id.as_str());
    let words: Vec<&str> = std::iter::once("model").chain(ids.clone()).collect();
    let caption = "How every claim fared on every model; perplexity and KL at home";
    let numbers = ["full precision", "quantised", "KL, nats"];
    let mut table = Table::new(caption, &words, &numbers);
    for studied in &study.subjects {
        let raw = studied.conditions.first().and_then(at_home);
        let full = studied.full_precision.first().map(|full| full.perplexity);
        let found = ids.clone().map(|id| {
            let claim = studied.hypotheses.iter().find(|claim| claim.id == id);
            claim.map_or(Cell::Missing, |claim| Cell::text(word(claim.finding).0))
        });
        let mut row = vec![Cell::text(&*studied.name)];
        row.extend(found);
        row.push(shown(full, 2));
        row.push(shown(raw.map(|raw| raw.perplexity), 2));
        row.push(shown(raw.map(|raw| raw.divergence), 4));
        table.push(row);
    }
    table
}

fn of_studied(studied: &Studied, page: &mut Page) {
    let claims = studied.hypotheses.iter().map(claim);
    page.findings(&claims.collect::<Vec<_>>());
    page.paragraph(&format!("What the gate lets through: {}.", studied.gate));
    page.figures(|page| {
        sweep(
            studied,
            |score| score.divergence,
            ["KL from full precision", "KL, nats a token"],
            page,
        );
        sweep(studied, |score| score.perplexity, ["perplexity", "perplexity"], page);
        by_position(studied, page);
        let bar = |cost: &super::Cost| Bar {
            label: format!("{}: {}", cost.name, number::short(cost.row_us_p50)),
            parts: vec![(cost.row_us_p50, 0)],
            ends: None,
        };
        let bars: Vec<Bar> = studied.costs.iter().map(bar).collect();
        let caption = "Median time of the stage for a row.";
        page.figure(caption, plot::bars(&bars, "µs"), &Legend::none());
    });
    let tables = [Domain::Home, Domain::Other].map(|domain| conditions(studied, domain));
    tables.iter().filter(|table| !table.is_empty()).for_each(|table| page.table(table));
    page.heading("What the gate says of the candidates");
    let candidates = studied.conditions.iter().filter_map(candidate);
    page.findings(&candidates.collect::<Vec<_>>());
    page.heading("Generation");
    page.table(&speeds(studied));
    if !studied.accuracies.is_empty() {
        page.table(&accuracies(studied));
    }
    page.heading("Do logits move as the filter assumes?");
    page.paragraph(&diagnosis(studied));
}

fn claim(hypothesis: &Hypothesis) -> lapwing_report::Finding {
    let Hypothesis { id, claim, finding, measure, interval, statement, .. } = hypothesis;
    let (word, tone) = word(*finding);
    lapwing_report::Finding {
        tone,
        word: word.to_owned(),
        title: format!("{id}: {claim}"),
        text: statement.clone(),
        detail: format!("{measure}: {}", signed(interval)),
    }
}

/// What the gate says of a condition, when it is a candidate.
fn candidate(condition: &TreatmentResult) -> Option<lapwing_report::Finding> {
    let passes = condition.passes?;
    let (word, tone) = if passes { ("passes", Tone::Good) } else { ("refused", Tone::Bad) };
    Some(lapwing_report::Finding {
        tone,
        word: word.to_owned(),
        title: condition.name.clone(),
        text: condition.reason.clone().unwrap_or_default(),
        detail: String::new(),
    })
}

/// What one gain for all tokens does to a figure: its name in the caption and on the axis.
fn sweep(
    studied: &Studied,
    value: impl Fn(&DomainScore) -> f64,
    [what, label]: [&str; 2],
    page: &mut Page,
) {
    let of_sweep = studied.conditions.iter().filter(|one| one.group == Group::GainSweep);
    let points = of_sweep.filter_map(|condition| {
        Some(Point { x: condition.parameter?, y: value(at_home(condition)?), ends: None })
    });
    let series = Series { style: Style(0), points: points.collect() };
    let labels = ["gain K (1 changes nothing)", label];
    let svg = plot::lines_by_factors(&[series], &Horizontal::Linear, labels);
    page.figure(&format!("One gain for all tokens: {what}."), svg, &Legend::none());
}

fn by_position(studied: &Studied, page: &mut Page) {
    let drawn = studied.conditions.iter().filter(|condition| is_drawn(studied, condition));
    let (mut series, mut names) = (Vec::new(), Vec::new());
    for (idx, condition) in drawn.enumerate() {
        let groups = condition.divergence_by_position.chunks(N_POSITIONS_A_POINT).enumerate();
        let points = groups.map(|(idx, group)| {
            let finite: Vec<f64> = group.iter().copied().filter(|kl| kl.is_finite()).collect();
            let x = (idx * N_POSITIONS_A_POINT) as f64 + group.len() as f64 / 2.0;
            Point { x, y: finite.iter().sum::<f64>() / finite.len() as f64, ends: None }
        });
        series.push(Series { style: Style(idx), points: points.collect() });
        names.push((Style(idx), condition.name.clone()));
    }
    let labels = ["position in the window", "KL, nats a token"];
    let svg = plot::lines(&series, &Horizontal::Linear, labels);
    page.figure("KL by position in the window.", svg, &Legend::of_lines(names));
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

/// What every condition scored that was judged in `domain`.
fn conditions(studied: &Studied, domain: Domain) -> Table {
    let caption = match domain {
        Domain::Home => "Every condition, at home",
        Domain::Other => "The candidates, in the other domain",
    };
    let numbers =
        ["perplexity", "KL, nats", "KL saved, nats", "same top token", "repeated 4-grams"];
    let mut table = Table::new(caption, &["condition"], &numbers);
    let percent = |share: f64| Cell::shown(number::percent(share), share);
    let shares = studied.conditions.iter().find_map(|condition| condition.gram_shares);
    for condition in &studied.conditions {
        let Some(score) = score_in(condition, domain) else { continue };
        let saved = score.divergence_improvement;
        let repeats = match condition.group {
            Group::Raw => shares.map(|[raw, _]| raw),
            _ => condition.gram_shares.map(|[_, corrected]| corrected),
        };
        // Answers are generated once: to prompts from home.
        let repeats = repeats.filter(|_| domain == Domain::Home);
        table.push(vec![
            Cell::text(&*condition.name),
            shown(Some(score.perplexity), 2),
            shown(Some(score.divergence), 4),
            Cell::shown(signed(&saved), saved.estimate),
            percent(score.agreement),
            repeats.map_or(Cell::Missing, percent),
        ]);
    }
    table.without_empty_columns()
}

fn speeds(studied: &Studied) -> Table {
    let numbers = ["tokens a second", "ratio to raw", "least ratio", "largest ratio", "stage, µs"];
    let mut table =
        Table::new("Tokens a second, in turn with the raw model", &["condition"], &numbers);
    for speed in &studied.speeds {
        let [least, largest] = speed.ratio_range;
        table.push(vec![
            Cell::text(&*speed.name),
            shown(Some(speed.tokens_per_s), 1),
            shown(Some(speed.ratio), 3),
            shown(Some(least), 3),
            shown(Some(largest), 3),
            shown(Some(speed.correction_us_p50), 1),
        ]);
    }
    table
}

fn accuracies(studied: &Studied) -> Table {
    let numbers = ["value", "standard error", "items"];
    let mut table = Table::new("Accuracy in the task", &["condition", "score"], &numbers);
    for accuracy in &studied.accuracies {
        table.push(vec![
            Cell::text(&*accuracy.name),
            Cell::text(&*accuracy.score),
            shown(Some(accuracy.value), 3),
            shown(accuracy.standard_error, 3),
            Cell::count(Some(accuracy.n_items as u64)),
        ]);
    }
    table
}

fn diagnosis(studied: &Studied) -> String {
    let found = &studied.diagnostics;
    let coefficient =
        |value: Option<f64>| value.map_or("none".to_owned(), |value| format!("{value:.3}"));
    format!(
        "Increments of logits over {} rows: autocorrelation {:.3} at lag 1, {:.3} at lag 2 ({:.0} \
         standard errors from 0); coefficient a {} pooled, {} for the token in the middle (1 under \
         the model); the published estimator freezes {:.2} % of the vocabulary; the one gain of \
         maximum likelihood is {:.3}.",
        studied.n_fit_rows,
        found.increment_autocorrelation_lag_1,
        found.increment_autocorrelation_lag_2,
        found.lag_two_score.abs(),
        coefficient(found.coefficient),
        coefficient(found.coefficient_median),
        found.share_frozen * 100.0,
        found.gain_of_maximum_likelihood,
    )
}

fn word(finding: Finding) -> (&'static str, Tone) {
    match finding {
        Finding::Supported => ("supported", Tone::Good),
        Finding::Refuted => ("refuted", Tone::Bad),
        Finding::Undecided => ("undecided", Tone::Open),
    }
}

/// A number with so many digits behind the point.
fn shown(value: Option<f64>, n_decimals: usize) -> Cell {
    value.map_or(Cell::Missing, |value| Cell::shown(format!("{value:.n_decimals$}"), value))
}

fn signed(interval: &Interval) -> String {
    let Interval { estimate, low, high, .. } = interval;
    let ends = number::interval(*low, *high, |end| format!("{end:+.4}"));
    format!("{estimate:+.4} ({ends})")
}

fn at_home(condition: &TreatmentResult) -> Option<&DomainScore> {
    score_in(condition, Domain::Home)
}

fn score_in(condition: &TreatmentResult, domain: Domain) -> Option<&DomainScore> {
    condition.scores.iter().find(|score| score.domain == domain)
}

#[cfg(test)]
mod tests;
