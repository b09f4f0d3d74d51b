//! What is printed: tables for people, JSON and YAML for programs, notes on standard error.

use std::io::Write as _;

use comfy_table::{Table, presets};
use flexvolume_host::Note;
use serde::Serialize;

use crate::{
    cli::Format,
    problem::Problems,
    speak::{say, tell},
};

/// How this run prints.
pub(crate) struct Show {
    format: Format,
    verbose: u8,
}

impl Show {
    pub(crate) fn new(format: Format, verbose: u8) -> Self {
        Self { format, verbose }
    }

    /// Prints rows: a table with `headers`, or the values themselves.
    pub(crate) fn rows<T: Serialize>(
        &self,
        headers: &[&str],
        rows: &[T],
        cells: impl Fn(&T) -> Vec<String>,
        nothing: &str,
    ) -> Result<(), Problems> {
        match self.format {
            Format::Table if rows.is_empty() => say!("{nothing}"),
            Format::Table => {
                let mut table = Table::new();
                table.load_preset(presets::NOTHING).set_header(headers);
                for row in rows {
                    table.add_row(cells(row));
                }
                for column in table.column_iter_mut() {
                    column.set_padding((0, 2));
                }
                say!("{}", table.trim_fmt());
            }
            Format::Json | Format::Yaml => self.value(&rows)?,
        }
        Ok(())
    }

    /// Prints one value, for programs.
    pub(crate) fn value<T: Serialize>(&self, value: &T) -> Result<(), Problems> {
        let text = match self.format {
            Format::Table | Format::Json => serde_json::to_string_pretty(value).map_err(|e| cannot_print(&e))?,
            Format::Yaml => serde_saphyr::to_string(value).map_err(|e| cannot_print(&e))?,
        };
        say!("{}", text.trim_end());
        Ok(())
    }

    /// Prints one value of a list that has no end: a line of `text`, of JSON, or a document of YAML. False once nobody
    /// reads it any more.
    pub(crate) fn line<T: Serialize>(&self, value: &T, text: &str) -> Result<bool, Problems> {
        let line = match self.format {
            Format::Table => text.trim_end().to_owned(),
            Format::Json => serde_json::to_string(value).map_err(|e| cannot_print(&e))?,
            Format::Yaml => {
                format!("---\n{}", serde_saphyr::to_string(value).map_err(|e| cannot_print(&e))?.trim_end())
            }
        };
        Ok(writeln!(anstream::stdout(), "{line}").is_ok())
    }

    /// Whether people read this.
    pub(crate) fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// Tells a note, if it is worth telling at this verbosity.
    pub(crate) fn note(&self, note: Note) {
        let about = |volume: &str| if volume.is_empty() { String::new() } else { format!("{volume}: ") };
        let text = match note {
            Note::Called { .. } if self.verbose == 0 => return,
            Note::Called { volume, driver, verb, took, verdict } => {
                format!("{}{driver} {verb}: {verdict} ({:.1} ms)", about(&volume), took.as_secs_f64() * 1e3)
            }
            Note::StillRunning { volume, driver, verb, pid, after } => {
                format!("{}{driver} is still running {verb} after {} s, as pid {pid}", about(&volume), after.as_secs())
            }
            Note::Waiting { volume, whom } => format!("{}waiting for {whom}", about(&volume)),
            Note::Warning { volume, text } => {
                tell!("\x1b[1;33mwarning:\x1b[0m {}{text}", about(&volume));
                return;
            }
        };
        tell!("{text}");
    }
}

fn cannot_print(error: &dyn std::fmt::Display) -> Problems {
    Problems::usage(format!("cannot print the result: {error}"), "try -o table")
}
