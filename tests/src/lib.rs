//! What more than one suite of this package needs: Kubernetes' own tests of CSI drivers, run and read; and the judge, likewise.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod judged;
pub mod sanity;
