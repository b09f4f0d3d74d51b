//! LVM on a kernel that has device-mapper; `cargo xtask guest lvm` runs each case in a guest.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "these are tests")]

#[test]
fn kernel() {
    println!("{}", std::fs::read_to_string("/proc/version").unwrap());
}
