//! What is printed: tables for people, JSON and YAML for programs, notes on standard error.

use comfy_table::{Table, presets};
use flexvolume_host::Note;
use serde::Serialize;
use tracing::Level;

use crate::{
    cli::Format,
    line::Line,
    log,
    problem::Problems,
    progress::Progress,
    screen,
    speak::{self, say},
};

/// How this run prints.
#[derive(Clone, Copy)]
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
            Format::Table | Format::Wide if rows.is_empty() => say!("{nothing}"),
            Format::Table | Format::Wide => {
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
            Format::Table | Format::Wide | Format::Json => {
                serde_json::to_string_pretty(value).map_err(|e| cannot_print(&e))?
            }
            Format::Yaml => serde_saphyr::to_string(value).map_err(|e| cannot_print(&e))?,
        };
        say!("{}", text.trim_end());
        Ok(())
    }

    /// Prints one value of a list that has no end: a line of `text`, of JSON, or a document of YAML. False once nobody
    /// reads it any more.
    pub(crate) fn line<T: Serialize>(&self, value: &T, text: &str) -> Result<bool, Problems> {
        let line = match self.format {
            Format::Table | Format::Wide => text.trim_end().to_owned(),
            Format::Json => serde_json::to_string(value).map_err(|e| cannot_print(&e))?,
            Format::Yaml => {
                format!("---\n{}", serde_saphyr::to_string(value).map_err(|e| cannot_print(&e))?.trim_end())
            }
        };
        Ok(screen::out(&line))
    }

    /// Whether people read this.
    pub(crate) fn is_table(&self) -> bool {
        match self.format {
            Format::Table | Format::Wide => true,
            Format::Json | Format::Yaml => false,
        }
    }

    /// Whether they want to see every column.
    pub(crate) fn is_wide(&self) -> bool {
        self.format == Format::Wide
    }

    /// A line on the terminal that says how far it is with `total` things, until it is dropped; nothing where nobody
    /// watches, or where every call is told anyway.
    pub(crate) fn progress(&self, total: usize, what: &'static str) -> Progress {
        let quiet = self.verbose == 0 && self.is_table() && !speak::is_json() && !log::tells_calls();
        if quiet { Progress::new(total, what) } else { Progress::unseen() }
    }

    /// Tells a note, if it is worth telling at this verbosity.
    pub(crate) fn note(&self, note: Note) {
        let about = |volume: &str| if volume.is_empty() { String::new() } else { format!("{volume}: ") };
        // With the fields that the log has for calls: who reads lines for programs need not care who said it.
        let line = |level, target, message: &str, volume: &str| {
            Line::new(level, target, message).with_some("volume", (!volume.is_empty()).then_some(volume))
        };
        match note {
            Note::Calling { .. } => {}
            // The log says it, and more.
            Note::Called { .. } if self.verbose == 0 || log::tells_calls() => {}
            Note::Called { volume, driver, verb, took, verdict } => {
                let milliseconds = took.as_micros() as f64 / 1e3;
                let text = format!("{}{driver} {verb}: {verdict} ({milliseconds:.1} ms)", about(&volume));
                speak::either(&text, || {
                    line(Level::INFO, "flexvol::call", "called", &volume)
                        .with("driver", driver.as_str())
                        .with("verb", verb)
                        .with("milliseconds", milliseconds)
                        .with("verdict", verdict.as_str())
                });
            }
            Note::StillRunning { volume, driver, verb, pid, after } => {
                let text = format!("{driver} is still running {verb} after {} s, as pid {pid}", after.as_secs());
                speak::either(&format!("{}{text}", about(&volume)), || {
                    line(Level::WARN, "flexvol::call", &text, &volume)
                        .with("driver", driver.as_str())
                        .with("verb", verb)
                        .with("pid", pid)
                        .with("seconds", after.as_secs())
                });
            }
            Note::Waiting { volume, whom } => {
                let text = format!("waiting for {whom}");
                speak::either(&format!("{}{text}", about(&volume)), || {
                    line(Level::INFO, "flexvol::volume", &text, &volume)
                });
            }
            Note::Said { volume, driver, verb, text } => {
                let text = format!("{driver} says to {verb}: {text}");
                speak::either(&format!("{}{text}", about(&volume)), || {
                    line(Level::INFO, "flexvol::call", &text, &volume)
                        .with("driver", driver.as_str())
                        .with("verb", verb)
                });
            }
            Note::News { text, fields } => speak::either(&text, || {
                let line = Line::new(Level::INFO, speak::COMMAND, text.as_str());
                fields.into_iter().fold(line, |line, (name, value)| line.with(name, value))
            }),
            Note::Warning { volume, text } => speak::warn(&volume, &text),
        }
    }
}

fn cannot_print(error: &dyn std::fmt::Display) -> Problems {
    Problems::usage(format!("cannot print the result: {error}"), "try -o table")
}
