//! The command on a real terminal, and what stands there at the end.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt,
    process::Stdio,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::bed::Bed;

/// What one run left on a terminal.
pub struct Seen {
    pub code: Option<i32>,
    /// Every byte that came.
    pub bytes: String,
    /// The lines that stand there at the end.
    pub lines: Vec<String>,
}

/// Runs the command with all its streams on a terminal of so many columns.
pub fn on_terminal(bed: &Bed, columns: u16, env: &[(&str, &str)], args: &[&str]) -> Seen {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let flags = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap();
    let theirs = OpenOptions::new().read(true).write(true).custom_flags(flags).open(name).unwrap();
    tcsetwinsize(&ours, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let mut command = bed.command(args);
    command.env_remove("NO_COLOR").env("TERM", "xterm").envs(env.iter().copied());
    command.stdin(Stdio::null()).stdout(theirs.try_clone().unwrap()).stderr(theirs);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    // A terminal whose other end is closed gives an error, not an end.
    while let Ok(length @ 1..) = File::from(ours.try_clone().unwrap()).read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..length]);
    }
    let bytes = String::from_utf8(bytes).unwrap();
    Seen { code: child.wait().unwrap().code(), lines: screen(&bytes, usize::from(columns)), bytes }
}

/// What stands on a terminal after these bytes: letters, ends of lines, back to the first column, delete to the end.
fn screen(bytes: &str, columns: usize) -> Vec<String> {
    let mut rows: Vec<Vec<char>> = vec![Vec::new()];
    let mut column = 0;
    let mut left = bytes.chars();
    while let Some(c) = left.next() {
        match c {
            '\n' => rows.push(Vec::new()),
            '\r' => column = 0,
            '\x1b' => {
                assert_eq!(left.next(), Some('['), "an escape that this terminal does not know in {bytes:?}");
                let sequence: String = left.by_ref().take_while(|c| !c.is_ascii_alphabetic()).collect();
                // Its last letter was taken too: only `K`, delete to the end, comes without a number here; colours have one.
                if sequence.is_empty() {
                    rows.last_mut().unwrap().truncate(column);
                }
            }
            c => {
                if column == columns {
                    rows.push(Vec::new());
                    column = 0;
                }
                let row = rows.last_mut().unwrap();
                row.resize(row.len().max(column + 1), ' ');
                row[column] = c;
                column += 1;
            }
        }
    }
    let lines: Vec<String> =
        rows.into_iter().map(|row| row.into_iter().collect::<String>().trim_end().to_owned()).collect();
    lines.into_iter().filter(|line| !line.is_empty()).collect()
}
