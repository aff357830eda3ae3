//! Tables: one form for the page and for Markdown.

use crate::markup::{Markup, printable};
use crate::number;

/// Words of at most so many characters stay on one line.
const N_CHARACTERS_SHORT: usize = 30;

/// A table with a heading for each column and a name for each row.
#[derive(Debug, Clone)]
pub struct Table {
    caption: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Debug, Clone)]
struct Column {
    title: String,
    is_number: bool,
}

/// What stands in a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number with what is shown of it; sorted by the number.
    Number {
        /// What is shown.
        text: String,
        /// The number.
        value: f64,
    },
    /// Not known, not measured.
    Missing,
}

impl Cell {
    /// Words; nothing where there are none.
    pub fn text(text: impl Into<String>) -> Cell {
        match text.into() {
            text if text.is_empty() => Cell::Missing,
            text => Cell::Text(text),
        }
    }

    /// A number with three digits that count.
    pub fn number(value: Option<f64>) -> Cell {
        match value.filter(|value| value.is_finite()) {
            Some(value) => Cell::Number { text: number::short(value), value },
            None => Cell::Missing,
        }
    }

    /// A number of things.
    pub fn count(n: Option<u64>) -> Cell {
        n.map_or(Cell::Missing, |n| Cell::Number { text: n.to_string(), value: n as f64 })
    }

    /// Bytes as megabytes.
    pub fn megabytes(n_bytes: Option<u64>) -> Cell {
        Cell::number(n_bytes.map(number::megabytes))
    }

    /// A number with something else to show for it.
    pub fn shown(text: String, value: f64) -> Cell {
        match value.is_finite() {
            true => Cell::Number { text, value },
            false => Cell::Missing,
        }
    }
}

impl Table {
    /// `text` and `numbers` name the columns: first those of words, then those of numbers.
    pub fn new(caption: &str, text: &[&str], numbers: &[&str]) -> Table {
        let column =
            |is_number: bool| move |title: &&str| Column { title: (*title).to_owned(), is_number };
        let columns = text.iter().map(column(false)).chain(numbers.iter().map(column(true)));
        Table { caption: caption.into(), columns: columns.collect(), rows: Vec::new() }
    }

    /// One more row.
    ///
    /// # Panics
    ///
    /// When it has not a cell for each column.
    pub fn push(&mut self, row: Vec<Cell>) {
        assert_eq!(row.len(), self.columns.len(), "a cell for each column of {}", self.caption);
        self.rows.push(row);
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The same without columns in which nothing is known.
    pub fn without_empty_columns(mut self) -> Table {
        for idx in (1..self.columns.len()).rev() {
            if self.rows.iter().all(|row| row[idx] == Cell::Missing) {
                self.columns.remove(idx);
                self.rows.iter_mut().for_each(|row| drop(row.remove(idx)));
            }
        }
        self
    }

    /// The same with its columns in this order.
    pub fn in_order(mut self, order: &[usize]) -> Table {
        self.columns = order.iter().map(|&idx| self.columns[idx].clone()).collect();
        for row in &mut self.rows {
            *row = order.iter().map(|&idx| row[idx].clone()).collect();
        }
        self
    }

    /// The table in a box that scrolls by itself, with a button in each heading.
    pub fn html(&self, page: &mut Markup) {
        let scroll = [
            ("class", "scroll"),
            ("role", "region"),
            ("tabindex", "0"),
            ("aria-label", &*self.caption),
        ];
        page.element("div", &scroll, |page| {
            page.element("table", &[], |page| {
                page.leaf("caption", &self.caption);
                page.element("thead", &[], |page| {
                    page.element("tr", &[], |page| self.headings(page));
                });
                page.element("tbody", &[], |page| {
                    for row in &self.rows {
                        page.element("tr", &[], |page| self.row(row, page));
                    }
                });
            });
        });
        page.raw("\n");
    }

    fn headings(&self, page: &mut Markup) {
        for column in &self.columns {
            let class = if column.is_number { "number" } else { "words" };
            page.element("th", &[("scope", "col"), ("class", class)], |page| {
                page.element("button", &[("type", "button")], |page| {
                    page.text(&column.title);
                });
            });
        }
    }

    fn row(&self, row: &[Cell], page: &mut Markup) {
        for (idx, (cell, column)) in row.iter().zip(&self.columns).enumerate() {
            let class = match cell {
                _ if column.is_number => "number",
                Cell::Text(text) if text.chars().count() <= N_CHARACTERS_SHORT => "words short",
                _ => "words",
            };
            let value = match cell {
                Cell::Number { value, .. } => value.to_string(),
                Cell::Text(_) | Cell::Missing => String::new(),
            };
            let mut attributes = vec![("class", class)];
            if !value.is_empty() {
                attributes.push(("data-value", &value));
            }
            if idx == 0 {
                attributes.push(("scope", "row"));
            }
            page.element(if idx == 0 { "th" } else { "td" }, &attributes, |page| match cell {
                Cell::Text(text) | Cell::Number { text, .. } => drop(page.text(text)),
                Cell::Missing => drop(page.raw("<span class=\"missing\">–</span>")),
            });
        }
    }

    /// As GitHub reads it.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let titles = self.columns.iter().map(|column| escape_markdown(&column.title));
        let mut text = line(titles.collect());
        let rules = self.columns.iter().map(|c| if c.is_number { "---:" } else { "---" });
        text.push_str(&line(rules.map(str::to_owned).collect()));
        for row in &self.rows {
            let cells = row.iter().map(|cell| match cell {
                Cell::Text(text) | Cell::Number { text, .. } => escape_markdown(text),
                Cell::Missing => "–".into(),
            });
            text.push_str(&line(cells.collect()));
        }
        text
    }
}

/// Whatever Markdown would make something of stands behind a backslash, HTML is escaped.
pub fn escape_markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut follows_word = false;
    for character in printable(text).chars() {
        match character {
            // Within a word they neither stress anything nor call anybody.
            '_' | '@' if follows_word => escaped.push(character),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '$' | '@' => {
                escaped.push('\\');
                escaped.push(character);
            }
            other => escaped.push(other),
        }
        follows_word = character.is_alphanumeric();
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new("of <two>", &["name", "empty"], &["n"]);
        table.push(vec![Cell::text("a|b"), Cell::text(""), Cell::number(Some(12.34))]);
        table.push(vec![Cell::text("<i>"), Cell::Missing, Cell::number(Some(f64::NAN))]);
        table
    }

    #[test]
    fn markdown_has_a_rule_and_no_markup_of_others() {
        let expected = "| name | empty | n |\n| --- | --- | ---: |\n\
            | a\\|b | – | 12.3 |\n| &lt;i&gt; | – | – |\n";
        assert_eq!(table().markdown(), expected);
        assert!(!table().without_empty_columns().markdown().contains("empty"));
    }

    #[test]
    fn markdown_is_escaped_where_it_would_mean_something() {
        let check = |text: &str, expected: &str| assert_eq!(escape_markdown(text), expected);
        check("tg128@d1024 q8_0", "tg128@d1024 q8_0");
        check("@all _x_", "\\@all \\_x_");
        check("*a* [b](c) `d` <e> & #1", "\\*a\\* \\[b\\](c) \\`d\\` &lt;e&gt; &amp; \\#1");
    }

    #[test]
    fn numbers_are_sorted_by_value_and_text_is_escaped() {
        let mut page = Markup::new();
        table().html(&mut page);
        let html = page.into_string();
        for expected in [
            "<caption>of &lt;two&gt;</caption>",
            r#"<td class="number" data-value="12.34">12.3</td>"#,
            r#"<th class="words short" scope="row">&lt;i&gt;</th>"#,
            r#"<th scope="col" class="number"><button type="button">n</button></th>"#,
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
    }
}
