//! One word of a script: quotes, substitutions, and what a redirection takes.

use std::mem;

use super::{
    dash::Bashism,
    scan::{End, HereDoc, Scanner, Word},
};

impl Scanner<'_> {
    pub(super) fn at_redirection(&self) -> bool {
        let rest = &self.text[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        matches!(rest.get(digits), Some(b'<' | b'>'))
    }

    pub(super) fn redirection(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.takes("<(") || self.takes(">(") {
            self.bashism(Bashism::ProcessSubstitution);
            return self.list(End::Paren);
        }
        if self.takes("<<<") {
            self.bashism(Bashism::HereString);
        } else if self.takes("<<") {
            let tabs = self.takes("-");
            self.blanks();
            let word = self.word();
            self.heredocs.push(HereDoc { end: word.literal.unwrap_or(word.raw), tabs });
            return;
        } else {
            let _ = [">>", ">&", "<&", "<>", ">|", "<", ">"].into_iter().any(|operator| self.takes(operator));
        }
        self.blanks();
        self.word();
    }

    /// One word; empty where none begins.
    pub(super) fn word(&mut self) -> Word {
        let mut word = Word { raw: String::new(), literal: Some(String::new()), bare: true };
        if self.peek() == Some(b'~') {
            word.literal = None;
        }
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')' => break,
                b'\'' | b'"' | b'$' | b'`' | b'\\' => {
                    let from = self.at;
                    self.part(&mut word, false);
                    word.raw.push_str(&String::from_utf8_lossy(&self.text[from..self.at.max(from)]));
                }
                _ => {
                    let from = self.at;
                    self.at += 1;
                    while self.at < self.text.len() && self.text[self.at] & 0xC0 == 0x80 {
                        self.at += 1;
                    }
                    let text = String::from_utf8_lossy(&self.text[from..self.at]);
                    word.raw.push_str(&text);
                    match (&mut word.literal, byte) {
                        (_, b'*' | b'?') => word.literal = None,
                        (Some(literal), _) => literal.push_str(&text),
                        (None, _) => {}
                    }
                }
            }
        }
        word
    }

    /// A quoted or substituted part of a word, which begins here.
    pub(super) fn part(&mut self, word: &mut Word, in_quotes: bool) {
        let from = self.at;
        match self.peek() {
            Some(b'\\') => {
                self.at = (self.at + 2).min(self.text.len());
                word.bare = false;
                match self.text.get(from + 1) {
                    Some(b'\n') => self.line += 1,
                    Some(byte) => add(word, &[*byte]),
                    None => {}
                }
            }
            Some(b'\'') if !in_quotes => {
                word.bare = false;
                self.at += 1;
                let end = self.text[self.at..].iter().position(|byte| *byte == b'\'');
                let Some(end) = end else { return self.lose() };
                let inside = &self.text[self.at..self.at + end];
                self.line += u32::try_from(inside.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(0);
                add(word, inside);
                self.at += end + 1;
            }
            Some(b'"') if !in_quotes => {
                word.bare = false;
                self.at += 1;
                loop {
                    match self.peek() {
                        None => return self.lose(),
                        Some(b'"') => break self.at += 1,
                        Some(b'\\' | b'$' | b'`') => self.part(word, true),
                        Some(byte) => {
                            self.line += u32::from(byte == b'\n');
                            add(word, &[byte]);
                            self.at += 1;
                        }
                    }
                }
            }
            Some(b'`') => {
                word.literal = None;
                self.backticks();
            }
            Some(b'$') => self.expansion(word, in_quotes),
            Some(_) => self.at += 1,
            None => {}
        }
    }

    /// `` `…` ``, which is unescaped before it is read.
    pub(super) fn backticks(&mut self) {
        let mut inside = Vec::new();
        let line = self.line;
        self.at += 1;
        loop {
            match self.peek() {
                None => return self.lose(),
                Some(b'`') => break self.at += 1,
                Some(b'\\') if matches!(self.text.get(self.at + 1), Some(b'`' | b'\\' | b'$')) => {
                    inside.push(self.text[self.at + 1]);
                    self.at += 2;
                }
                Some(byte) => {
                    self.line += u32::from(byte == b'\n');
                    inside.push(byte);
                    self.at += 1;
                }
            }
        }
        let mut inner = Scanner::new(&inside, line, self.depth, mem::take(&mut self.scan));
        inner.ifs = self.ifs;
        inner.list(End::Text);
        self.scan = inner.scan;
    }

    pub(super) fn expansion(&mut self, word: &mut Word, in_quotes: bool) {
        self.at += 1;
        match self.peek() {
            Some(b'(') if self.takes_arithmetic() => {}
            Some(b'(') => {
                self.at += 1;
                self.list(End::Paren);
            }
            Some(b'{') => {
                self.at += 1;
                self.braces(in_quotes);
            }
            Some(b'\'') if !in_quotes => {
                self.bashism(Bashism::DollarQuote);
                self.at += 1;
                while self.peek().is_some_and(|byte| byte != b'\'') {
                    self.at += if self.peek() == Some(b'\\') { 2 } else { 1 };
                }
                self.at = (self.at + 1).min(self.text.len());
            }
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' => {
                while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                    self.at += 1;
                }
            }
            Some(byte) if byte.is_ascii_digit() || b"@*#?-$!".contains(&byte) => self.at += 1,
            // A dollar that begins nothing.
            Some(_) | None => return add(word, b"$"),
        }
        word.bare = false;
        word.literal = None;
    }

    /// `${…}` after its brace.
    pub(super) fn braces(&mut self, in_quotes: bool) {
        let rest = &self.text[self.at..];
        let name = rest.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'_').unwrap_or(rest.len());
        if let Some(bashism) = Bashism::of_parameter(&rest[..name], &rest[name..]) {
            self.bashism(bashism);
        }
        let mut word = Word { raw: String::new(), literal: None, bare: false };
        loop {
            match self.peek() {
                None => return self.lose(),
                Some(b'}') => return self.at += 1,
                Some(b'\'') if in_quotes => self.at += 1,
                Some(b'"') if in_quotes => self.at += 1,
                Some(b'\\' | b'$' | b'`' | b'\'' | b'"') => self.part(&mut word, in_quotes),
                Some(byte) => {
                    self.line += u32::from(byte == b'\n');
                    self.at += 1;
                }
            }
        }
    }
}

fn add(word: &mut Word, bytes: &[u8]) {
    if let Some(literal) = &mut word.literal {
        literal.push_str(&String::from_utf8_lossy(bytes));
    }
}
