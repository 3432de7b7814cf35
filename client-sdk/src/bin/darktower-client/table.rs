//! Aligned columns, and redrawing them in place.

use std::io::{self, IsTerminal as _, Write as _};

/// Which side of a column its text stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of text under headings; each column is as wide as its widest cell.
#[derive(Debug)]
pub(crate) struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of headings only.
    pub(crate) fn new<const N: usize>(columns: [(&str, Align); N]) -> Self {
        let heading = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        Self { align: columns.iter().map(|(_, align)| *align).collect(), rows: vec![heading] }
    }

    /// Adds a row; the cells stand in the order of the columns.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.align.len(), "one cell per column");
        self.rows.push(cells.into());
    }

    /// Whether there are headings only.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The rows as text, headings first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<_> = (0..self.align.len()).map(|column| width(column).unwrap_or(0)).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.align).map(|((cell, width), align)| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// Standard output, on which the same lines are shown again and again: in place on a terminal, one block after the
/// other elsewhere.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: bool,
    drawn: usize,
}

impl Screen {
    /// Nothing is drawn yet.
    pub(crate) fn new() -> Self {
        Self { terminal: io::stdout().is_terminal(), drawn: 0 }
    }

    /// Prints a line that stays.
    pub(crate) fn print(&mut self, line: &str) -> io::Result<()> {
        self.drawn = 0;
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }

    /// Shows `lines` in the place of those shown before. On a terminal, what does not fit is cut off.
    pub(crate) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if !self.terminal {
            for line in lines {
                writeln!(out, "{line}")?;
            }
            return out.flush();
        }
        let (width, height) = terminal_size::terminal_size()
            .map_or((80, 24), |(width, height)| (usize::from(width.0), usize::from(height.0)));
        let mut text = String::new();
        if self.drawn > 0 {
            // Up to the first line drawn, and clear from there. One write: nothing flickers.
            text = format!("\x1b[{}F\x1b[J", self.drawn);
        }
        let fitted = fit(lines, width, height.saturating_sub(1));
        for line in &fitted {
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = fitted.len();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

/// As much of `lines` as a terminal shows; says how many lines are missing.
fn fit(lines: &[String], width: usize, height: usize) -> Vec<String> {
    let cut = |line: &String| line.chars().take(width).collect();
    if lines.len() <= height {
        return lines.iter().map(cut).collect();
    }
    let shown = height.saturating_sub(1);
    let mut fitted: Vec<String> = lines.iter().take(shown).map(cut).collect();
    fitted.push(cut(&format!("... {} more lines: make the window higher", lines.len() - shown)));
    fitted
}

/// `name` as another participant chose it, made safe for one cell: no control characters, which could steer the
/// terminal, and at most `max` characters.
pub(crate) fn printable(name: &str, max: usize) -> String {
    let mut chars = name.trim().chars().map(|c| if is_steering(c) { '\u{fffd}' } else { c });
    let text: String = chars.by_ref().take(max).collect();
    match chars.next() {
        None => text,
        Some(_) => text.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// Control characters, and those that turn the direction of writing.
fn is_steering(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// Bits per second in kbit/s, for a cell.
pub(crate) fn kbps(bits_per_second: u64) -> String {
    format!("{:.0}", bits_per_second as f64 / 1e3)
}

/// Microseconds in milliseconds, for a cell.
pub(crate) fn ms(us: u64) -> String {
    format!("{:.1}", us as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new([("NAME", Align::Left), ("FPS", Align::Right)]);
        assert!(table.is_empty());
        table.row(["Ada".to_owned(), "9.5".to_owned()]);
        table.row(["Grace H.".to_owned(), "130.0".to_owned()]);
        assert_eq!(table.lines(), ["NAME        FPS", "Ada         9.5", "Grace H.  130.0"]);
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let lines: Vec<String> = (0..5).map(|n| format!("line {n}")).collect();
        assert_eq!(fit(&lines, 80, 5), lines);
        assert_eq!(fit(&lines, 3, 3), ["lin", "lin", "..."]);
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        assert_eq!(printable(" Ada ", 10), "Ada");
        assert_eq!(printable("\x1b[2Jboo\n", 20), "\u{fffd}[2Jboo");
        assert_eq!(printable("Wilhelmine", 10), "Wilhelmine");
        assert_eq!(printable("Wilhelmine", 6), "Wilhe…");
        assert_eq!(printable("\u{202e}txt", 6), "\u{fffd}txt");
    }
}
