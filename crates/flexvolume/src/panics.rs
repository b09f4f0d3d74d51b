//! What a panic says, kept for the driver's log: the standard streams hold one JSON value and nothing else.

use std::sync::{Mutex, PoisonError};

static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// From now on a panic is silent and its account is kept.
pub(crate) fn keep() {
    std::panic::set_hook(Box::new(|panic| {
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic.to_string());
    }));
}

/// The panic's own account with its place, if it was kept, else just its message.
pub(crate) fn told(message: &str) -> String {
    PANIC.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_else(|| message.to_owned())
}
