//! Programs in a pod that write and go on writing, and remember what they wrote.

use std::process::Child;

use super::home::Home;
use crate::{command::Ran, tools::until};

/// One writer: a file after the other, each durable before its sum is noted beside it.
pub struct Writer<'a> {
    home: &'a Home,
    pod: String,
    dir: String,
    child: Child,
}

impl<'a> Writer<'a> {
    /// Begins in a directory of a pod. Files are of so many KiB.
    pub fn start(home: &'a Home, pod: &str, dir: &str, kib: u32) -> Writer<'a> {
        let script = format!(
            "cd {dir}; n=0; while [ ! -e stop ]; do n=$((n+1)); \
             dd if=/dev/urandom of=file$n bs=1k count={kib} conv=fsync status=none; sha256sum file$n >>sums; sync sums; done"
        );
        Writer { home, pod: pod.to_owned(), dir: dir.to_owned(), child: home.start(pod, &script) }
    }

    /// How many files it has written.
    pub fn count(&self) -> usize {
        self.home.exec(&self.pod, &format!("cat {}/sums 2>/dev/null | wc -l", self.dir)).parse().unwrap()
    }

    /// Waits until it has written some more.
    #[track_caller]
    pub fn goes_on(&mut self) {
        let before = self.count();
        until("another file", || {
            assert!(self.child.try_wait().unwrap().is_none(), "the writer has ended");
            self.count() > before + 2
        });
    }

    /// Whether it has ended by itself, because a write failed.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it came to.
    pub fn end(self) -> Ran {
        Ran::of(self.child.wait_with_output().unwrap())
    }

    /// Ends it, and reads back all that it has written.
    #[track_caller]
    pub fn stop(self) {
        let (home, pod, dir) = (self.home, self.pod.clone(), self.dir.clone());
        home.exec(&pod, &format!(": >{dir}/stop"));
        let ran = self.end();
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        check(home, &pod, &dir);
    }
}

/// All that a writer has noted is there as it was written.
#[track_caller]
pub fn check(home: &Home, pod: &str, dir: &str) {
    home.exec(pod, &format!("cd {dir}; test -s sums; sha256sum --quiet -c sums"));
}
