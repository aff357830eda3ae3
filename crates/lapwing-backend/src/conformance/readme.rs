//! README's table of models: a column is what came of the exports here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use lapwing_model::ModelFolder;

const BEGIN: &str = "<!-- models: crates/lapwing-backend/src/conformance/readme.rs -->\n";
const END: &str = "<!-- /models -->";

/// What the names of formats begin with, in the names of folders.
const FORMATS: [&str; 4] = ["int4", "int8", "fp32", "q4"];

/// A cell without exports.
const NONE: &str = "–";

/// One column, filled by the test that opens every export for it.
pub struct ReadmeColumn {
    head: &'static str,
    /// By families: formats that run, and those that are refused.
    cells: BTreeMap<String, [BTreeSet<String>; 2]>,
}

impl ReadmeColumn {
    /// The column that is headed so.
    pub fn new(head: &'static str) -> ReadmeColumn {
        ReadmeColumn { head, cells: BTreeMap::new() }
    }

    /// An export either `runs`, and gave its golden values, or is refused.
    pub fn add(&mut self, folder: &ModelFolder, runs: bool) {
        let parts = if folder.embeddings.is_empty() { "" } else { ", text of an image model" };
        let family = match folder.architecture.model_type.as_str() {
            // As onnxruntime-genai calls it.
            "gptoss" => "gpt_oss",
            other => other,
        };
        let name = folder.root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = folder.variant.clone().unwrap_or(name);
        let format = FORMATS.into_iter().find(|format| name.contains(format));
        let format = format.map_or(name.clone(), str::to_owned);
        let outcomes = self.cells.entry(format!("{family}{parts}")).or_default();
        outcomes[usize::from(!runs)].insert(format);
    }

    fn cell(&self, family: &str) -> String {
        let outcomes = self.cells.get(family).into_iter().flatten();
        let words = outcomes.zip(["", "refused: "]).filter(|(formats, _)| !formats.is_empty());
        let words = words.map(|(formats, word)| {
            format!("{word}{}", Vec::from_iter(formats.iter().map(String::as_str)).join(", "))
        });
        let words = Vec::from_iter(words).join("; ");
        if words.is_empty() { NONE.to_owned() } else { words }
    }

    /// See to it that README says the same. With `LAPWING_WRITE_TABLE=1` the column is rewritten: by
    /// one test after the other, since each rewrites the page.
    ///
    /// # Panics
    ///
    /// When it says something else.
    pub fn check(&self) {
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
        let text = fs::read_to_string(&readme).expect("the page");
        let (before, rest) = text.split_once(BEGIN).expect("a table");
        let (told, behind) = rest.split_once(END).expect("its end");
        let made = self.put_into(told);
        if std::env::var_os("LAPWING_WRITE_TABLE").is_some() {
            fs::write(&readme, format!("{before}{BEGIN}{made}{END}{behind}")).expect("the page");
        } else {
            assert_eq!(told, made, "LAPWING_WRITE_TABLE=1 rewrites it, tests one after the other");
        }
    }

    /// A table with this column in the place of its own.
    fn put_into(&self, table: &str) -> String {
        let cells = |line: &str| -> Vec<String> {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        };
        let mut lines = table.lines();
        let [head, line] = [(); 2].map(|()| lines.next().expect("a head"));
        let heads = cells(head);
        let column_idx = heads.iter().position(|head| head == self.head).expect("such a column");
        let mut rows: BTreeMap<String, Vec<String>> =
            lines.map(cells).map(|row| (row[0].clone(), row)).collect();
        for family in self.cells.keys() {
            let empty = || {
                let mut row = vec![NONE.to_owned(); heads.len()];
                row[0].clone_from(family);
                row
            };
            rows.entry(family.clone()).or_insert_with(empty);
        }
        let rows = rows.into_values().filter_map(|mut row| {
            row[column_idx] = self.cell(&row[0]);
            let is_told = row[1..].iter().any(|cell| cell != NONE);
            is_told.then(|| format!("| {} |\n", row.join(" | ")))
        });
        format!("{head}\n{line}\n{}", rows.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_takes_the_place_of_its_own_and_families_come_and_go() {
        let mut column = ReadmeColumn::new("b");
        let runs = BTreeSet::from(["int4".to_owned()]);
        let refused = BTreeSet::from(["int8".to_owned(), "fp32".to_owned()]);
        column.cells.insert("llama".to_owned(), [runs.clone(), refused]);
        column.cells.insert("new".to_owned(), [runs, BTreeSet::new()]);
        let table = "| family | a | b |\n|---|---|---|\n| gone | – | int4 |\n| kept | int8 | int4 |\n\
            | llama | – | – |\n";
        let expected = "| family | a | b |\n|---|---|---|\n| kept | int8 | – |\n\
            | llama | – | int4; refused: fp32, int8 |\n| new | – | int4 |\n";
        assert_eq!(column.put_into(table), expected);
    }
}
