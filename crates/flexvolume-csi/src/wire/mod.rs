//! The messages and services as they go over the socket, made from `proto/` by the test that holds them against it.

/// The Container Storage Interface.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "written by a program")]
#[rustfmt::skip]
pub mod csi;
/// How the kubelet learns of a plugin.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "written by a program")]
#[rustfmt::skip]
pub mod registration;
