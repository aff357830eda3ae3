//! The frame of a page: sections, figures, legends.

use super::markup::Markup;
use super::overview::Overview;
use super::plot::{self, N_SERIES_MAX, Style};

/// A page being written.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) markup: Markup,
    /// Anchors and titles of the sections so far.
    pub(crate) contents: Vec<(&'static str, &'static str)>,
    n_clips: usize,
}

impl Page {
    /// A section with a heading of the second order.
    pub(crate) fn section(
        &mut self,
        id: &'static str,
        title: &'static str,
        inner: impl FnOnce(&mut Page),
    ) {
        self.contents.push((id, title));
        self.markup.raw("<section aria-labelledby=\"").raw(id).raw("\">\n");
        self.markup.element("h2", &[("id", id)], |heading| {
            heading.text(title);
        });
        inner(self);
        self.markup.raw("</section>\n");
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        self.markup.leaf("p", text).raw("\n");
    }

    /// Figures beside each other where there is room.
    pub(crate) fn figures(&mut self, inner: impl FnOnce(&mut Page)) {
        self.markup.raw("<div class=\"figures\">\n");
        inner(self);
        self.markup.raw("</div>\n");
    }

    /// A drawing with what it shows; nothing when there is nothing to draw.
    pub(crate) fn figure(&mut self, caption: &str, svg: Option<String>, legend: &Legend) {
        let Some(svg) = svg else { return };
        let svg = plot::renumber(&svg, &mut self.n_clips);
        let (start, rest) = svg.split_at("<svg".len());
        self.markup.element("figure", &[], |figure| {
            figure.leaf("figcaption", caption);
            figure.raw("<div class=\"drawing\">").raw(start).raw(" role=\"img\" aria-label=\"");
            figure.text(caption).raw("\"").raw(rest).raw("</div>");
            legend.html(figure);
        });
        self.markup.raw("\n");
    }
}

/// What the colours and shapes of a figure mean.
#[derive(Debug, Default)]
pub(crate) struct Legend {
    entries: Vec<(String, String)>,
}

impl Legend {
    pub(crate) fn none() -> Legend {
        Legend::default()
    }

    /// Of the configurations with these places.
    pub(crate) fn of_subjects(overview: &Overview, places: &[usize]) -> Legend {
        let entry = |&idx: &usize| (plot::swatch(Style(idx)), overview.subjects[idx].label.clone());
        Legend { entries: places.iter().map(entry).collect() }
    }

    /// Of parts of bars, by the number of their colour.
    pub(crate) fn of_parts(parts: &[(&str, usize)]) -> Legend {
        let entry = |&(name, color): &(&str, usize)| {
            let color = color % plot::N_COLORS;
            let swatch = format!(
                "<svg class=\"swatch\" viewBox=\"0 0 36 14\" aria-hidden=\"true\"><rect x=\"4\" \
                 width=\"28\" height=\"14\" fill=\"var(--s{color})\" /></svg>"
            );
            (swatch, name.to_owned())
        };
        Legend { entries: parts.iter().map(entry).collect() }
    }

    fn html(&self, figure: &mut Markup) {
        if self.entries.is_empty() {
            return;
        }
        figure.element("ul", &[("class", "legend")], |list| {
            for (swatch, name) in &self.entries {
                list.element("li", &[], |item| {
                    item.raw(swatch).text(name);
                });
            }
        });
    }
}

/// The first places that fit into one drawing, and what to say about the others.
pub(crate) fn first_places(mut places: Vec<usize>) -> (Vec<usize>, String) {
    let n_all = places.len();
    places.truncate(N_SERIES_MAX);
    let note = match n_all > N_SERIES_MAX {
        true => format!(" The {N_SERIES_MAX} that decode fastest of {n_all}; the table has all."),
        false => String::new(),
    };
    (places, note)
}
