//! The parts of a script with a grammar of their own: loops, `case`, `[[ … ]]`, arithmetic, assignments.

use super::{
    dash::Bashism,
    scan::{Frame, Scanner, Word},
};

impl Scanner<'_> {
    pub(super) fn loop_head(&mut self) {
        self.frames.push(Frame::Loop);
        self.blanks();
        if self.takes_arithmetic() {
            return self.bashism(Bashism::Arithmetic);
        }
        // NAME, then `do` at once, or `in` and words; what these substitute is looked into.
        self.word();
        self.blanks();
        let here = self.at;
        if self.word().literal.as_deref() == Some("do") {
            self.at = here;
            return;
        }
        loop {
            self.blanks();
            match self.peek() {
                None | Some(b'\n' | b';') => return,
                Some(_) => {}
            }
            let before = self.at;
            self.word();
            if self.at == before {
                return self.lose();
            }
        }
    }

    pub(super) fn case(&mut self) {
        self.blanks();
        self.word();
        self.gap();
        if self.word().literal.as_deref() != Some("in") {
            return self.lose();
        }
        self.frames.push(Frame::Case);
        self.patterns();
    }

    /// The patterns before one branch of a `case`, or its end.
    pub(super) fn patterns(&mut self) {
        self.gap();
        if self.peek().is_none() {
            return self.lose();
        }
        self.takes("(");
        let mut first = true;
        loop {
            self.blanks();
            let before = self.at;
            let word = self.word();
            if first && word.bare && word.literal.as_deref() == Some("esac") {
                self.frames.pop();
                return;
            }
            first = false;
            self.scan.labels.extend(word.literal);
            self.blanks();
            if self.takes(")") {
                return;
            }
            if !self.takes("|") || self.at == before {
                return self.lose();
            }
        }
    }

    /// `[[ … ]]`, the inside of which has a grammar of its own.
    pub(super) fn double_bracket(&mut self) {
        self.bashism(Bashism::DoubleBracket);
        loop {
            match self.peek() {
                None => return self.lose(),
                Some(b']') if self.sees("]]") && self.text[self.at - 1].is_ascii_whitespace() => {
                    self.at += 2;
                    return;
                }
                Some(_) => self.skip_one(),
            }
        }
    }

    /// One character, or all of a quoted or substituted part.
    pub(super) fn skip_one(&mut self) {
        let mut word = Word { raw: String::new(), literal: None, bare: false };
        match self.peek() {
            Some(b'\n') => {
                self.at += 1;
                self.line += 1;
            }
            Some(b'\'' | b'"' | b'$' | b'`' | b'\\') => self.part(&mut word, false),
            Some(_) => self.at += 1,
            None => {}
        }
    }

    /// `((…))` or `$((…))` from its parentheses on; false, and nothing taken, if it is none.
    pub(super) fn takes_arithmetic(&mut self) -> bool {
        if !self.sees("((") {
            return false;
        }
        let mut depth = 0;
        for (at, byte) in self.text.iter().enumerate().skip(self.at) {
            match byte {
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                // Two subshells close their parentheses apart.
                if self.text[at - 1] != b')' {
                    return false;
                }
                self.line += u32::try_from(self.text[self.at..at].iter().filter(|b| **b == b'\n').count()).unwrap_or(0);
                self.at = at + 1;
                return true;
            }
        }
        false
    }

    /// `NAME=VALUE` before a command, if it stands here.
    pub(super) fn assignment(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let name = rest.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'_').unwrap_or(rest.len());
        if name == 0 || rest[0].is_ascii_digit() {
            return false;
        }
        let variable = String::from_utf8_lossy(&rest[..name]).into_owned();
        let mut end = name;
        let mut bashism = None;
        if rest.get(end) == Some(&b'[') {
            let Some(close) = rest[end..].iter().position(|b| *b == b']' || *b == b'\n') else { return false };
            end += close + 1;
            bashism = Some(Bashism::Array);
        }
        if rest.get(end) == Some(&b'+') {
            end += 1;
            bashism = bashism.or(Some(Bashism::Append));
        }
        if rest.get(end) != Some(&b'=') {
            return false;
        }
        self.at += end + 1;
        if let Some(bashism) = bashism {
            self.bashism(bashism);
        }
        if self.peek() == Some(b'(') {
            self.array();
        } else {
            let value = self.word();
            if variable == "PATH" {
                self.scan.paths.push(value.raw);
            }
            let known = self.scan.settings.entry(variable).or_insert_with(|| value.literal.clone());
            if *known != value.literal {
                *known = None;
            }
        }
        true
    }

    /// `(word word …)` after an equals sign.
    pub(super) fn array(&mut self) {
        self.bashism(Bashism::Array);
        self.at += 1;
        loop {
            self.gap();
            let before = self.at;
            if self.takes(")") {
                return;
            }
            self.word();
            if self.at == before {
                return self.lose();
            }
        }
    }
}
