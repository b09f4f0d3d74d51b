//! The tokens of pages: the driver's own, with a mark by which one that we never gave is known.
//!
//! A driver may take any text for a token, the kit does; a client that makes one up would get some page, and take it for the right one.

use sha2::{Digest, Sha256};
use tonic::Status;

use super::limits;
use crate::status;

/// Between the driver's token and the mark.
const SEAM: char = '~';
/// Digits of the mark.
const DIGITS: usize = 4;

/// The token that a client is given for the driver's. One that leaves no room for the mark goes without.
pub(crate) fn sealed(token: String) -> String {
    if token.is_empty() || !has_room(&token) {
        return token;
    }
    let mark = mark(&token);
    format!("{token}{SEAM}{mark}")
}

/// The driver's token.
///
/// # Errors
/// `ABORTED`: it is none that we gave.
pub(crate) fn opened(token: &str) -> Result<&str, Status> {
    match token.rsplit_once(SEAM) {
        Some((own, given)) if given == mark(own) => Ok(own),
        Some(_) | None if !has_room(token) => Ok(token),
        Some(_) | None => Err(status::bad_token("starting_token is none of ours: begin with an empty one")),
    }
}

fn has_room(token: &str) -> bool {
    token.len() + SEAM.len_utf8() + DIGITS <= limits::STRING
}

fn mark(token: &str) -> String {
    let digest = Sha256::digest(token);
    digest.iter().take(DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_comes_back_and_what_is_made_up_does_not() {
        for token in ["pvc-1", "srv/images/pvc~2", "~", "x".repeat(123).as_str(), "y".repeat(128).as_str()] {
            let given = sealed(token.to_owned());
            assert!(given.len() <= 128);
            assert_eq!(opened(&given).unwrap(), token);
        }
        assert_eq!(sealed(String::new()), "");
        for bad in ["invalid-token", "", "pvc-1~", "pvc-1~0000", "pvc-1", "~"] {
            assert_eq!(opened(bad).unwrap_err().code(), tonic::Code::Aborted, "{bad}");
        }
    }
}
