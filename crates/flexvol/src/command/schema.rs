//! `flexvol schema`: what a program may rely on in what we print.

use super::ground::Done;
use crate::{problem::Problems, schema, speak::say};

pub(super) fn schema(name: &str) -> Done {
    match schema::get(name) {
        Some(text) => say!("{}", text.trim_end()),
        None => return Err(Problems::usage(format!("there is no schema {name}"), "flexvol help schema lists them")),
    }
    Ok(())
}
