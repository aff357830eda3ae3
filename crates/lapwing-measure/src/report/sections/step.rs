//! Where the time of a decoding step goes.

use lapwing_report::plot::{self, Bar};
use lapwing_report::{Cell, Legend, Page, Table, number};

use crate::record::{Record, StepCost, TestKind};
use crate::report::overview::{Overview, test_name};

/// Names of the parts with the numbers of their colours.
const PARTS: [(&str, usize); 5] =
    [("inference", 0), ("correction", 1), ("sampler", 2), ("detokenizer", 3), ("rest", 7)];

pub(crate) fn write(overview: &Overview, page: &mut Page) {
    let Some(test) = overview.usual_test(TestKind::Decode) else { return };
    let costs: Vec<(&str, &StepCost)> = overview
        .newest(test)
        .into_iter()
        .filter_map(|(idx, record): (usize, &Record)| {
            Some((&*overview.subjects[idx].label, record.step_us.as_ref()?))
        })
        .collect();
    if costs.is_empty() {
        return;
    }
    page.section("step", "What a step costs", |page| {
        page.figures(|page| {
            let caption = format!("Decode ({}): where the time of one step goes.", test_name(test));
            figure(&costs, 0, &caption, page);
            figure(&costs, 1, "The same without inference: what the host adds.", page);
        });
        page.table(&table(&costs));
    });
}

fn figure(costs: &[(&str, &StepCost)], first_part: usize, caption: &str, page: &mut Page) {
    let bar = |&(label, cost): &(&str, &StepCost)| {
        let lengths = parts(cost).into_iter().map(Option::unwrap_or_default);
        let colors = PARTS.iter().map(|&(_, color)| color);
        let parts = lengths.zip(colors).skip(first_part).collect();
        Bar { label: label.to_owned(), parts, ends: None }
    };
    let bars: Vec<Bar> = costs.iter().map(bar).collect();
    let is_told = |place: usize| costs.iter().any(|(_, cost)| parts(cost)[place].is_some());
    let told = (first_part..PARTS.len()).filter(|&place| is_told(place));
    let legend: Vec<_> = told.map(|place| PARTS[place]).collect();
    page.figure(caption, plot::bars(&bars, "µs"), &Legend::of_parts(&legend));
}

fn parts(cost: &StepCost) -> [Option<f64>; PARTS.len()] {
    [cost.inference, cost.correction, cost.sampler, cost.detokenizer, cost.rest]
}

fn table(costs: &[(&str, &StepCost)]) -> Table {
    let mut table = Table::new(
        "A step in microseconds: the median of each part, with its share of the whole",
        &["Configuration"],
        &["Inference", "Correction", "Sampler", "Detokenizer", "Rest", "Whole step", "Steps"],
    );
    for &(label, cost) in costs {
        let share = |part: Option<f64>| match part {
            Some(us) if cost.total > 0.0 => {
                let share = number::percent(us / cost.total);
                Cell::shown(format!("{} ({share})", number::short(us)), us)
            }
            part => Cell::number(part),
        };
        let mut row = vec![Cell::text(label)];
        row.extend(parts(cost).map(share));
        row.extend([Cell::number(Some(cost.total)), Cell::count(Some(cost.n_steps))]);
        table.push(row);
    }
    table.without_empty_columns()
}
