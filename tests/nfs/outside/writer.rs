//! Programs in a pod that write one line after the other, each durable before it is acknowledged, and never give up.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use crate::{server::until, tools::text};

/// `$1` is written to, `$2` says how many lines are durable, `$3` ends it.
const SCRIPT: &str = r#"
exec 3>>"$1"
n=0
until [ -e "$3" ]; do
    n=$((n + 1))
    echo "line $n" >&3
    sync "$1"
    echo $n >"$2.new"
    mv "$2.new" "$2"
done
"#;

/// One of them.
pub struct Writer {
    child: Child,
    book: PathBuf,
}

impl Writer {
    /// Begins with a file. What it acknowledges is written down beside `book`, which is no file of the volume.
    pub fn start(file: &Path, book: &Path) -> Writer {
        let words = [text(file), text(book), text(&book.with_extension("stop"))].map(str::to_owned);
        let child = Command::new("bash").args(["-euc", SCRIPT, "writer"]).args(words).spawn().unwrap();
        Writer { child, book: book.to_owned() }
    }

    /// So many lines are durable.
    pub fn lines(&self) -> u32 {
        fs::read_to_string(&self.book).map_or(0, |text| text.trim().parse().unwrap())
    }

    /// Waits until there are some more.
    #[track_caller]
    pub fn goes_on(&mut self) {
        let before = self.lines();
        until("another line", || {
            assert!(self.child.try_wait().unwrap().is_none(), "the writer has ended after {} lines", self.lines());
            self.lines() > before + 2
        });
    }

    /// Ends it in good order, and gives how many lines are durable.
    #[track_caller]
    pub fn stop(mut self) -> u32 {
        fs::write(self.book.with_extension("stop"), "").unwrap();
        until("the writer ends", || self.child.try_wait().unwrap().is_some());
        assert!(self.child.wait().unwrap().success());
        self.lines()
    }
}

/// Every line that was acknowledged is there, once and in its place, and nothing else.
#[track_caller]
pub fn check(found: &str, lines: u32) {
    let wanted: String = (1..=lines).map(|n| format!("line {n}\n")).collect();
    assert!(found == wanted, "{lines} lines were acknowledged, and this is there: {found}");
}
