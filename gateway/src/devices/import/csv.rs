//! CSV (RFC 4180), with `,` or, when the first line has no comma, `;` between cells, as spreadsheets write it.

/// A record's cells and the line it begins on.
pub(super) type Record = (usize, Vec<String>);

/// The records of a text, each with the line it begins on; blank lines are skipped. A problem names its line.
pub(super) fn records(text: &str) -> Result<Vec<Record>, (usize, String)> {
    let first = text.lines().next().unwrap_or_default();
    let separator = if first.contains(';') && !first.contains(',') { ';' } else { ',' };
    let mut reader = Reader { rest: text, line: 1, separator };
    let mut records = Vec::new();
    while !reader.rest.is_empty() {
        let line = reader.line;
        let cells = reader.record()?;
        if cells.iter().any(|cell| !cell.is_empty()) {
            records.push((line, cells));
        }
    }
    Ok(records)
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    separator: char,
}

impl Reader<'_> {
    fn record(&mut self) -> Result<Vec<String>, (usize, String)> {
        let mut cells = Vec::new();
        loop {
            cells.push(if self.rest.starts_with('"') { self.quoted()? } else { self.plain() });
            if self.take(self.separator) {
                continue;
            }
            self.take('\r');
            if self.take('\n') {
                self.line += 1;
                return Ok(cells);
            }
            if self.rest.is_empty() {
                return Ok(cells);
            }
            return Err((self.line, "text behind a closing quote".to_owned()));
        }
    }

    fn plain(&mut self) -> String {
        let end = self.rest.find([self.separator, '\n']).unwrap_or(self.rest.len());
        let (cell, rest) = self.rest.split_at(end);
        self.rest = rest;
        // A carriage return before the line's end goes with the blanks.
        cell.trim().to_owned()
    }

    fn quoted(&mut self) -> Result<String, (usize, String)> {
        let begins = self.line;
        let mut cell = String::new();
        self.take('"');
        loop {
            let Some((part, rest)) = self.rest.split_once('"') else {
                return Err((begins, "a quote is not closed".to_owned()));
            };
            cell.push_str(part);
            self.line += part.matches('\n').count();
            self.rest = rest;
            if !self.take('"') {
                return Ok(cell);
            }
            cell.push('"');
        }
    }

    fn take(&mut self, expected: char) -> bool {
        let rest = self.rest.strip_prefix(expected);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cells(text: &str) -> Vec<Vec<String>> {
        records(text).unwrap().into_iter().map(|(_, cells)| cells).collect()
    }

    #[test]
    fn quotes_hold_separators_quotes_and_line_ends() {
        assert_eq!(cells("a,\"b,\"\"c\"\"\nd\"\r\n,e"), [["a", "b,\"c\"\nd"], ["", "e"]]);
    }

    #[test]
    fn records_know_the_line_they_begin_on() {
        let lines: Vec<_> = records("a\n\n\"b\nc\"\nd").unwrap().iter().map(|record| record.0).collect();
        assert_eq!(lines, [1, 3, 5]);
    }

    #[test]
    fn broken_quotes_are_reported() {
        assert_eq!(records("a\n\"b").unwrap_err().0, 2);
        assert_eq!(records("\"a\"b").unwrap_err().0, 1);
    }

    proptest! {
        #[test]
        fn what_is_quoted_reads_back(rows in prop::collection::vec(prop::collection::vec("[ -~\n]{1,8}", 2..4), 1..5)) {
            let quote = |cell: &String| format!("\"{}\"", cell.replace('"', "\"\""));
            let text: Vec<_> = rows.iter().map(|row| row.iter().map(quote).collect::<Vec<_>>().join(",")).collect();
            // A first line without a comma would be read with semicolons.
            let text = format!("x,y\n{}", text.join("\n"));
            let mut read = cells(&text);
            read.remove(0);
            prop_assert_eq!(read, rows);
        }
    }
}
