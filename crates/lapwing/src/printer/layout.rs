//! Tables and facts in as many columns as a terminal has.
//!
//! Words are never cut, but for paths that are longer than there is room for: on a terminal that is
//! too narrow these are shown with `…` in the middle. A pipe, and `--json`, have them whole.

use std::io::{self, IsTerminal as _};

use comfy_table::{Table, presets};

/// Narrower text is harder to read than a line more.
const N_COLUMNS_MIN: usize = 20;
/// A shortened path says enough in less.
const N_PATH_COLUMNS_MIN: usize = 12;
/// Between two columns.
const GAP: usize = 2;

/// How wide the terminal behind stdout is; files and pipes have no width.
pub(super) fn stdout_width() -> Option<usize> {
    let stdout = io::stdout();
    let size = stdout.is_terminal().then(|| terminal_size::terminal_size_of(&stdout)).flatten();
    size.map(|(width, _)| usize::from(width.0)).filter(|width| *width != 0)
}

/// How wide the terminal behind stderr is, likewise.
pub(super) fn stderr_width() -> Option<usize> {
    let stderr = io::stderr();
    let size = stderr.is_terminal().then(|| terminal_size::terminal_size_of(&stderr)).flatten();
    size.map(|(width, _)| usize::from(width.0)).filter(|width| *width != 0)
}

/// A table with one header row, without borders. Where `width` is too narrow, its widest column is
/// wrapped; where that is not enough, each row becomes a block of lines.
pub(super) fn table(header: &[&str], rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let lines = plain(header, rows);
    let Some(width) = width.filter(|width| lines.iter().any(|line| *width < n_columns(line)))
    else {
        return lines;
    };
    let of_column = |idx: usize| {
        let cells = rows.iter().filter_map(|row| row.get(idx)).map(|cell| n_columns(cell));
        cells.chain([n_columns(header[idx])]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(of_column).collect();
    let widest = (0..widths.len()).max_by_key(|idx| widths[*idx]).unwrap_or(0);
    let others: usize = widths.iter().sum::<usize>() - widths[widest] + GAP * (widths.len() - 1);
    let cells = || rows.iter().filter_map(|row| row.get(widest));
    let is_of_paths = cells().all(|cell| cell.is_empty() || is_path(cell));
    let n_min = if is_of_paths { N_PATH_COLUMNS_MIN } else { N_COLUMNS_MIN };
    match width.checked_sub(others).filter(|room| n_min <= *room) {
        Some(room) => {
            let mut rows = rows.to_vec();
            for cell in rows.iter_mut().filter_map(|row| row.get_mut(widest)) {
                *cell = wrapped(cell, room).join("\n");
            }
            plain(header, &rows)
        }
        None => rows.iter().flat_map(|row| block(header, row, width)).collect(),
    }
}

/// As wide as the cells are.
fn plain(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row.clone());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP as u16));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// One row: the first cell that says something, then a line for every other that does.
fn block(header: &[&str], row: &[String], width: usize) -> Vec<String> {
    let says_something = |cell: &str| !["", "-", "–"].contains(&cell);
    let mut named = header.iter().zip(row).filter(|(_, cell)| says_something(cell));
    let mut lines = named.next().map_or(Vec::new(), |(_, first)| wrapped(first, width));
    let n_name = header.iter().skip(1).map(|name| n_columns(name)).max().unwrap_or(0);
    for (name, cell) in named {
        lines.extend(hanging(&format!("  {name:n_name$}  "), cell, Some(width)));
    }
    lines
}

/// `prefix` and a text behind it, whose further lines begin where the first one does; below the
/// prefix where there is no room beside it.
pub(super) fn hanging(prefix: &str, text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width.filter(|width| *width < n_columns(prefix) + n_columns(text)) else {
        return vec![format!("{prefix}{text}")];
    };
    let n_prefix = n_columns(prefix);
    let is_beside = n_prefix + N_COLUMNS_MIN <= width;
    let indent = " ".repeat(if is_beside { n_prefix } else { 4 });
    let room = width.saturating_sub(indent.len());
    let mut lines: Vec<String> =
        wrapped(text, room).into_iter().map(|line| format!("{indent}{line}")).collect();
    match is_beside {
        true => lines[0].replace_range(..indent.len(), prefix),
        false if prefix.trim().is_empty() => {}
        false => lines.insert(0, prefix.trim_end().to_owned()),
    }
    lines
}

/// A text in lines of at most `width` columns, but for longer words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    if is_path(text) {
        return vec![shortened(text, width)];
    }
    for word in text.split_whitespace() {
        let word = if is_path(word) { &shortened(word, width) } else { word };
        let line = lines.last_mut().expect("there is one from the start");
        match line.is_empty() {
            true => line.push_str(word),
            false if n_columns(line) + 1 + n_columns(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            false => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Whether a text is a path from the root and nothing else: several words may be.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.contains(": ") && !text.contains(", ")
}

/// A path in at most `width` columns: its beginning and, since that tells more, twice as much of its
/// end.
fn shortened(path: &str, width: usize) -> String {
    let n_chars = n_columns(path);
    if n_chars <= width || width < N_PATH_COLUMNS_MIN {
        return path.to_owned();
    }
    let n_start = (width - 1) / 3;
    let n_end = width - 1 - n_start;
    let start: String = path.chars().take(n_start).collect();
    let end: String = path.chars().skip(n_chars - n_end).collect();
    format!("{start}…{end}")
}

fn n_columns(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [&str; 4] = ["NAME", "KIND", "SIZE", "DESCRIPTION"];

    fn rows() -> Vec<Vec<String>> {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let long = "a small model that follows instructions and is fast";
        vec![row(["small", "gguf", "98.4 MB", long]), row(["other", "gguf", "-", ""])]
    }

    #[track_caller]
    fn check(width: Option<usize>, expected: &[&str]) {
        let lines = table(&HEADER, &rows(), width);
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_table_that_fits_stays_as_it_is() {
        let plain = [
            "NAME   KIND  SIZE     DESCRIPTION",
            "small  gguf  98.4 MB  a small model that follows instructions and is fast",
            "other  gguf  -",
        ];
        check(None, &plain);
        check(Some(73), &plain);
    }

    #[test]
    fn the_widest_column_is_wrapped_where_there_is_room_for_it() {
        check(
            Some(45),
            &[
                "NAME   KIND  SIZE     DESCRIPTION",
                "small  gguf  98.4 MB  a small model that",
                "                      follows instructions",
                "                      and is fast",
                "other  gguf  -",
            ],
        );
    }

    #[test]
    fn a_model_with_a_long_path_takes_one_line_where_there_is_room_for_some_of_it() {
        let path = "/home/somebody/.local/share/lapwing/models/a-model/with a name.gguf";
        let rows = [["a-model", "gguf checkpoint", "98.4 MB", path].map(str::to_owned).to_vec()];
        let header = ["NAME", "KIND", "SIZE", "PATH"];
        let lines = table(&header, &rows, Some(60));
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].ends_with("  /home/so…with a name.gguf"), "{lines:?}");
        assert!(lines.iter().all(|line| n_columns(line) <= 60), "{lines:?}");
        let lines = table(&header, &rows, Some(40));
        assert!(lines.iter().all(|line| n_columns(line) <= 40), "{lines:?}");
        assert!(table(&header, &rows, None)[1].ends_with(path), "a pipe has it whole");
    }

    #[test]
    fn rows_become_blocks_where_there_is_none() {
        check(
            Some(30),
            &[
                "small",
                "  KIND         gguf",
                "  SIZE         98.4 MB",
                "  DESCRIPTION",
                "    a small model that follows",
                "    instructions and is fast",
                "other",
                "  KIND         gguf",
            ],
        );
    }

    #[test]
    fn a_long_word_stays_whole_but_for_a_path_on_a_narrow_terminal() {
        let path = "/a/path/that/is/longer/than/the/terminal";
        assert_eq!(hanging("path  ", path, Some(20)), ["path", "    /a/pa…e/terminal"]);
        let url = "https://a.very.long/address/of/something";
        assert_eq!(hanging("url  ", url, Some(20)), ["url", &format!("    {url}")]);
        assert_eq!(hanging("path  ", path, None), [format!("path  {path}")]);
        assert_eq!(
            hanging("p ", "one two three four five", Some(22)),
            ["p one two three four", "  five"]
        );
    }
}
