//! The loopback driver.
