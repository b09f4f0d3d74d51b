//! Standard error written by a thread of its own, for who must not wait for whoever reads it: a few lines wait, the rest is counted.

use std::{
    io::{self, Write},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

/// So many wait to be written.
const LINES: usize = 1024;
/// So long the end waits for those.
const END: Duration = Duration::from_secs(2);

static WRITER: OnceLock<Writer> = OnceLock::new();

struct Writer {
    lines: SyncSender<Order>,
    lost: Arc<AtomicU64>,
}

enum Order {
    Write(String),
    /// Everything before it is written.
    Tell(SyncSender<()>),
}

/// A line that warns, of what there is to say.
type Warning = fn(&str) -> String;

/// From now on who writes to standard error waits for nobody. Gives the count of lines that were lost, of which a warning tells as soon
/// as there is room.
pub(crate) fn begin(warning: Warning) -> Arc<AtomicU64> {
    let begun = WRITER.get_or_init(|| {
        let (lost, (lines, orders)) = (Arc::<AtomicU64>::default(), sync_channel(LINES));
        let counted = Arc::clone(&lost);
        // Without a thread nothing is written, and that is counted.
        let _ = thread::Builder::new().name("stderr".to_owned()).spawn(move || {
            write_all(&orders, &counted, warning, |text| drop(anstream::stderr().write_all(text.as_bytes())))
        });
        Writer { lines, lost }
    });
    Arc::clone(&begun.lost)
}

/// Hands whole lines over; gives them back where nobody has begun that.
pub(crate) fn hand_over(text: String) -> Result<(), String> {
    match WRITER.get() {
        Some(writer) => {
            writer.put(text);
            Ok(())
        }
        None => Err(text),
    }
}

/// Waits until what was handed over is written, unless nobody reads it.
pub(crate) fn settle() {
    let Some(writer) = WRITER.get() else { return };
    let (tell, told) = sync_channel(1);
    if writer.lines.try_send(Order::Tell(tell)).is_ok() {
        match told.recv_timeout(END) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

impl Writer {
    fn put(&self, text: String) {
        match self.lines.try_send(Order::Write(text)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn write_all(orders: &Receiver<Order>, lost: &AtomicU64, warning: Warning, write: impl Fn(&str)) {
    let mut told = 0;
    for order in orders {
        match order {
            Order::Write(text) => write(&text),
            Order::Tell(done) => drop(done.try_send(())),
        }
        let all = lost.load(Ordering::Relaxed);
        if all > told {
            let text = format!("{} lines are lost here: standard error was not read in time", all - told);
            write(&warning(&text));
            told = all;
        }
    }
}

/// Where the log writes its lines.
#[derive(Clone, Copy)]
pub(crate) struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match hand_over(String::from_utf8_lossy(bytes).into_owned()) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn who_writes_waits_for_nobody_and_what_is_lost_is_counted_and_told() {
        let (lines, orders) = sync_channel(2);
        let writer = Writer { lines, lost: Arc::default() };
        // Nobody reads yet.
        for n in 0..5 {
            writer.put(format!("{n}\n"));
        }
        assert_eq!(writer.lost.load(Ordering::Relaxed), 3);
        let (lost, written) = (Arc::clone(&writer.lost), Mutex::new(String::new()));
        drop(writer);
        write_all(&orders, &lost, str::to_owned, |text| written.lock().unwrap().push_str(text));
        let written = written.into_inner().unwrap();
        assert!(
            written.starts_with("0\n") && written.ends_with("1\n") && written.contains("3 lines are lost"),
            "{written}"
        );
    }
}
