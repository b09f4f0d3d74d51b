//! Children nobody waits for any more (stuck, abandoned, turned daemon): reaped later, in passing.

use std::{
    process::Child,
    sync::{Mutex, PoisonError},
};

static LEFT: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Hands over a child that is not to be waited for in line. Until it is reaped its pid is not reused.
pub(crate) fn leave(child: Child) {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(child);
}

/// Reaps those that have ended since; never blocks.
pub(crate) fn sweep() {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    left.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::process::id::Stat;

    #[test]
    fn what_was_left_is_reaped_once_it_has_ended() {
        let child = Command::new("/bin/true").spawn().unwrap();
        let pid = child.id();
        leave(child);
        for _ in 0..10_000 {
            sweep();
            if Stat::read(pid).is_err() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("the child {pid} is still a zombie");
    }
}
