//! The frame of a page: what stands on top, sections, figures, legends.

use crate::markup::Markup;
use crate::plot::{self, Style};
use crate::table::Table;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Nothing may be loaded; style and script are in the page.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// A page being written.
#[derive(Debug, Default)]
pub struct Page {
    markup: Markup,
    /// Anchors and titles of the sections so far.
    contents: Vec<(String, String)>,
    n_clips: usize,
}

impl Page {
    /// Nothing yet.
    pub fn new() -> Page {
        Page::default()
    }

    /// The whole page with its title, facts, notes, a list of its sections, style and script.
    #[must_use]
    pub fn into_html(self, title: &str, facts: &[(String, String)], notes: &[String]) -> String {
        let mut document = Markup::new();
        document.raw("<!DOCTYPE html>\n");
        document.element("html", &[("lang", "en")], |document| {
            document.element("head", &[], |head| head_of(title, head));
            document.raw("\n");
            document.element("body", &[], |body| {
                body.raw("\n");
                body.element("header", &[], |header| self.header(title, facts, notes, header));
                body.element("main", &[], |main| {
                    main.append(&self.markup);
                });
                body.element("footer", &[], |footer| {
                    footer.leaf("p", concat!("Made by lapwing ", env!("CARGO_PKG_VERSION"), "."));
                });
                let status = [("id", "status"), ("class", "hidden"), ("role", "status")];
                body.element("div", &status, |_| {});
                body.raw("<script>\n").raw(SCRIPT).raw("</script>\n");
            });
        });
        document.raw("\n");
        document.into_string()
    }

    fn header(
        &self,
        title: &str,
        facts: &[(String, String)],
        notes: &[String],
        header: &mut Markup,
    ) {
        header.leaf("h1", title).raw("\n");
        header.element("dl", &[("class", "facts")], |list| {
            for (name, value) in facts {
                list.leaf("dt", name).leaf("dd", value);
            }
        });
        if !notes.is_empty() {
            header.element("ul", &[("class", "notes")], |list| {
                for note in notes {
                    list.leaf("li", note);
                }
            });
        }
        header.element("nav", &[("aria-label", "Sections")], |nav| {
            nav.element("ul", &[], |list| {
                for (id, title) in &self.contents {
                    list.element("li", &[], |item| {
                        item.element("a", &[("href", &format!("#{id}"))], |link| {
                            link.text(title);
                        });
                    });
                }
            });
        });
        header.raw("\n");
    }

    /// A section with a heading of the second order.
    pub fn section(&mut self, id: &str, title: &str, inner: impl FnOnce(&mut Page)) {
        self.contents.push((id.to_owned(), title.to_owned()));
        self.markup.raw("<section aria-labelledby=\"").text(id).raw("\">\n");
        self.markup.element("h2", &[("id", id)], |heading| {
            heading.text(title);
        });
        inner(self);
        self.markup.raw("</section>\n");
    }

    /// A heading of the third order, for a part of a section.
    pub fn heading(&mut self, title: &str) {
        self.markup.leaf("h3", title).raw("\n");
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.markup.leaf("p", text).raw("\n");
    }

    /// What was found, each in a block of its own: for texts that would squeeze a table.
    pub fn findings(&mut self, findings: &[Finding]) {
        self.markup.element("ul", &[("class", "findings")], |list| {
            for Finding { tone, word, title, text, detail } in findings {
                list.element("li", &[("class", tone.class())], |item| {
                    item.element("p", &[], |line| {
                        line.element("span", &[("class", "tone")], |badge| {
                            badge.text(word);
                        });
                        line.raw(" ").leaf("b", title);
                    });
                    item.leaf("p", text);
                    if !detail.is_empty() {
                        item.element("p", &[("class", "soft")], |line| {
                            line.text(detail);
                        });
                    }
                });
            }
        });
        self.markup.raw("\n");
    }

    /// A table that scrolls by itself.
    pub fn table(&mut self, table: &Table) {
        table.html(&mut self.markup);
    }

    /// Anything else.
    pub fn markup(&mut self) -> &mut Markup {
        &mut self.markup
    }

    /// Figures beside each other where there is room.
    pub fn figures(&mut self, inner: impl FnOnce(&mut Page)) {
        self.markup.raw("<div class=\"figures\">\n");
        inner(self);
        self.markup.raw("</div>\n");
    }

    /// A drawing with what it shows; nothing when there is nothing to draw.
    pub fn figure(&mut self, caption: &str, svg: Option<String>, legend: &Legend) {
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

/// Something that was decided, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it is marked.
    pub tone: Tone,
    /// The decision in a word.
    pub word: String,
    /// What was decided on.
    pub title: String,
    /// Why.
    pub text: String,
    /// The figure that it was decided by; empty where there is none.
    pub detail: String,
}

/// Whether something went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It did.
    Good,
    /// It did not.
    Bad,
    /// Nobody knows.
    Open,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Bad => "bad",
            Tone::Open => "open",
        }
    }
}

/// What the colours and shapes of a figure mean.
#[derive(Debug, Default)]
pub struct Legend {
    entries: Vec<(String, String)>,
}

impl Legend {
    /// Nothing to explain.
    pub fn none() -> Legend {
        Legend::default()
    }

    /// Of lines by their looks.
    pub fn of_lines(lines: impl IntoIterator<Item = (Style, String)>) -> Legend {
        let entry = |(style, name): (Style, String)| (plot::swatch(style), name);
        Legend { entries: lines.into_iter().map(entry).collect() }
    }

    /// Of parts of bars, by the number of their colour.
    pub fn of_parts(parts: &[(&str, usize)]) -> Legend {
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

fn head_of(title: &str, head: &mut Markup) {
    head.raw("\n").void("meta", &[("charset", "utf-8")]).raw("\n");
    head.void("meta", &[("http-equiv", "Content-Security-Policy"), ("content", POLICY)]).raw("\n");
    let viewport = "width=device-width, initial-scale=1";
    head.void("meta", &[("name", "viewport"), ("content", viewport)]).raw("\n");
    // Without this a browser asks for an icon.
    head.void("link", &[("rel", "icon"), ("href", "data:,")]).raw("\n");
    head.leaf("title", title).raw("\n<style>\n").raw(STYLE).raw("</style>\n");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_is_told_is_only_text() {
        let evil = "<script>alert(1)</script>\"'&";
        let mut page = Page::new();
        page.section(evil, evil, |page| {
            page.heading(evil);
            page.paragraph(evil);
            let [word, title, text, detail] = [(); 4].map(|()| evil.to_owned());
            page.findings(&[Finding { tone: Tone::Bad, word, title, text, detail }]);
            let svg = Some("<svg></svg>".to_owned());
            page.figure(evil, svg, &Legend::of_lines([(Style(0), evil.to_owned())]));
        });
        let html = page.into_html(evil, &[(evil.into(), evil.into())], &[evil.into()]);
        assert!(!html.contains("<script>alert") && html.contains("&lt;script&gt;alert"));
        assert!(!html.contains("=\"<") && !html.contains("'&\""), "{html}");
    }

    /// Contrast as WCAG 2 counts it.
    fn contrast(one: u32, other: u32) -> f64 {
        let luminance = |color: u32| {
            let channel = |shift: u32| {
                let value = f64::from((color >> shift) & 0xff) / 255.0;
                if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * channel(16) + 0.7152 * channel(8) + 0.0722 * channel(0)
        };
        let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
        one.max(other) / one.min(other)
    }

    #[test]
    fn colours_can_be_read_in_both_schemes() {
        let schemes = STYLE.match_indices(":root {").map(|(place, _)| {
            let block = STYLE[place..].split('}').next().unwrap();
            let variables = block.split(';').filter_map(|line| line.trim().rsplit_once("--"));
            let colors = variables.filter_map(|(_, rest)| {
                let (name, color) = rest.split_once(": #")?;
                Some((name.to_owned(), u32::from_str_radix(color, 16).unwrap()))
            });
            colors.collect::<BTreeMap<String, u32>>()
        });
        let schemes: Vec<_> = schemes.collect();
        assert_eq!(schemes.len(), 2);
        for colors in schemes {
            for (name, color) in &colors {
                let least = match name.as_str() {
                    "text" | "soft" | "link" => 4.5,
                    "axis" => 3.0,
                    name if name.starts_with('s') => 3.0,
                    _ => continue,
                };
                for paper in ["paper", "band"] {
                    let found = contrast(*color, colors[paper]);
                    assert!(found >= least, "{name} {color:06x} on {paper}: {found}");
                }
            }
            assert!((0..plot::N_COLORS).all(|idx| colors.contains_key(&format!("s{idx}"))));
        }
    }
}
