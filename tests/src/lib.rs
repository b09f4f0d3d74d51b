//! What more than one suite of this package needs: Kubernetes' own tests of CSI drivers, run and read; and the judge, likewise; how much of a kill sweep is tried.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod judged;
pub mod sanity;

/// How far it is from one effect of a kill sweep that is met to the next: as usual, or all with `all` in the variable `FLEXVOL_SWEEP`.
///
/// # Panics
/// The variable says something else.
pub fn stride(usual: u64) -> u64 {
    match std::env::var("FLEXVOL_SWEEP") {
        Ok(wish) if wish == "all" => 1,
        Ok(wish) => panic!("FLEXVOL_SWEEP says {wish:?}; here it can say \"all\""),
        Err(_) => usual,
    }
}
