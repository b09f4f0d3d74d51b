//! Statuses that a script writes almost as the contract has them: of a verb other than `init` nobody would hear before it fails.

/// The words of the contract.
pub(crate) const WORDS: [&str; 3] = ["Success", "Failure", "Not supported"];

/// The word of the contract that this one was meant to be, if it is almost one.
pub(crate) fn near(status: &str) -> Option<&'static str> {
    let plain = |word: &str| word.to_lowercase().replace(['_', '-'], " ").trim().to_owned();
    WORDS.into_iter().find(|word| plain(word) == plain(status))
}

/// Lines of a script in which a key `status` is given a word that is almost one of the contract's: the line, and both words.
pub(crate) fn misspelt(text: &str) -> Vec<(u32, &str, &'static str)> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with('#'));
    lines.flat_map(|(number, line)| given(line).map(move |word| (number, word))).filter_map(wrong).collect()
}

fn wrong((number, word): (u32, &str)) -> Option<(u32, &str, &'static str)> {
    near(word).filter(|near| *near != word).map(|near| (number, word, near))
}

/// What each `status:` on the line is given, between quotes of any kind, escaped or not.
fn given(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("status").filter_map(|(at, key)| {
        let quotes = ['\\', '"', '\'', ' '];
        let value = line[at + key.len()..].trim_start_matches(quotes).strip_prefix(':')?.trim_start();
        let word = value.trim_start_matches(['\\', '"', '\'']);
        let is_quoted = word.len() < value.len();
        is_quoted.then(|| word.split(['\\', '"', '\'']).next().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_almost_a_word_of_the_contract_is_found_where_it_is_given() {
        let script = r#"#!/bin/sh
init) echo '{"status": "Success", "capabilities": {"attach": false}}' ;;
mount) echo "{\"status\":\"success\"}" ;;
unmount) jq -cn '{status: "SUCCESS"}' ;;
# echo '{"status": "success"}'
other) printf '{"status" : "Not Supported"}'; exit_status=success; echo "status: success" ;;
fail) echo '{"status": "Failed", "message": "status: no"}' ; say "$status" ;;
*) echo '{"status": "not_supported"}' ;;
"#;
        let found = misspelt(script);
        let expected = [
            (3, "success", "Success"),
            (4, "SUCCESS", "Success"),
            (6, "Not Supported", "Not supported"),
            (8, "not_supported", "Not supported"),
        ];
        assert_eq!(found, expected);
    }
}
