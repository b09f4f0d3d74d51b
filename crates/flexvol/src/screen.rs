//! Where bytes leave the process: whole lines to standard output and standard error, and one line that is drawn again and again.

use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use rustix::termios::{tcgetpgrp, tcgetwinsize};

use crate::aside;

/// Back to the first column, and nothing stands on the line any more.
const WIPE: &str = "\r\x1b[K";

/// Whether a line that will be drawn again stands on the terminal now.
static DRAWN: Mutex<bool> = Mutex::new(false);

/// Why results could not be written, the first time that happened.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Writes a line of results; false if it did not arrive. That nobody can read it any more stops nothing that is under way.
pub(crate) fn out(text: &str) -> bool {
    let _drawn = wipe();
    match anstream::stdout().write_all(format!("{text}\n").as_bytes()) {
        Ok(()) => true,
        // Whoever reads the first lines only, as `head` does, has what he wants.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => false,
        Err(error) => {
            let _ = LOST.set(error);
            false
        }
    }
}

/// Why some of the results could not be written, if so.
pub(crate) fn lost() -> Option<&'static io::Error> {
    LOST.get()
}

/// Writes lines to standard error, above the one that is drawn; as [`out`] it never stops anything.
pub(crate) fn err(text: &str) {
    let Err(text) = aside::hand_over(format!("{text}\n")) else { return };
    let _drawn = wipe();
    // In one piece: other processes may write to the same place.
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Whether a line can be drawn on standard error: a terminal that can go back to the start of one.
pub(crate) fn can_draw() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// Draws `text` as the last line, in place of what was drawn before; cut to what the terminal has room for.
pub(crate) fn draw(text: &str) {
    let mut drawn = wipe();
    let stderr = io::stderr();
    // In the background the terminal is somebody else's.
    if tcgetpgrp(&stderr).is_ok_and(|group| group != rustix::process::getpgrp()) {
        return;
    }
    // One column stays free: a full line would move the cursor to the next.
    let room = match tcgetwinsize(&stderr).map_or(0, |size| size.ws_col) {
        0 => 79,
        columns => usize::from(columns) - 1,
    };
    *drawn = stderr.lock().write_all(fit(text, room).as_bytes()).is_ok();
}

/// Takes the drawn line away.
pub(crate) fn clear() {
    drop(wipe());
}

fn wipe() -> MutexGuard<'static, bool> {
    let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    if *drawn {
        let _ = io::stderr().lock().write_all(WIPE.as_bytes());
        *drawn = false;
    }
    drawn
}

/// Names are ASCII; anything else is taken to be as wide as a letter, but nothing may move the cursor.
fn fit(text: &str, room: usize) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if plain.chars().count() <= room {
        return plain;
    }
    plain.chars().take(room.saturating_sub(1)).chain((room > 0).then_some('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_fits_its_line() {
        assert_eq!(fit("1 of 2", 79), "1 of 2");
        assert_eq!(fit("1 of 2", 6), "1 of 2");
        assert_eq!(fit("1 of 2", 5), "1 of…");
        assert_eq!(fit("1 of 2", 1), "…");
        assert_eq!(fit("1 of 2", 0), "");
        assert_eq!(fit("a\x1b[2J\nb", 79), "a [2J b");
    }
}
