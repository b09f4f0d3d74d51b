//! Reads a shell script as far as its words go: what it calls, what it defines, what only bash understands. It runs nothing.
//!
//! It knows quotes, substitutions, here-documents and the compound commands. Where it loses its way it says so, and what
//! comes after that line counts for nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use super::dash::Bashism;

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Every command that is named literally, in the order of the text.
    pub(crate) calls: Vec<Call>,
    /// Functions and aliases.
    pub(crate) functions: BTreeSet<String>,
    /// What it looks for before it uses it: the words after `command -v`, `which` and the like, the paths after `-x`.
    pub(crate) asked: BTreeSet<String>,
    /// The patterns of its `case` commands.
    pub(crate) labels: BTreeSet<String>,
    /// Files it reads in, as written.
    pub(crate) sources: Vec<String>,
    /// What it sets PATH to, as written.
    pub(crate) paths: Vec<String>,
    /// Variables and the one text that each is set to; `None` for those that are set to several, or to what is not literal.
    pub(crate) settings: BTreeMap<String, Option<String>>,
    /// What only bash understands, and on which lines.
    pub(crate) bashisms: Vec<(Bashism, u32)>,
    /// Where the reader lost its way.
    pub(crate) lost: Option<u32>,
}

/// One command in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) line: u32,
    pub(crate) reach: Reach,
    /// Its words; `None` where one is not literal.
    pub(crate) words: Vec<Option<String>>,
}

/// How sure it is that a call is made when its part of the script is run, and minded if it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// It may fail: `|| true` stands behind it.
    Forgiven,
    /// It depends: it stands in an `if`, or behind `&&` or `||`.
    Maybe,
    /// Nothing is asked before.
    Always,
}

/// Reads a whole script.
pub(crate) fn scan(text: &str) -> Scan {
    let mut scanner = Scanner::new(text.as_bytes(), 1, 0, Scan::default());
    scanner.list(End::Text);
    let mut scan = scanner.scan;
    // `JQ=/usr/bin/jq` once and `$JQ` ever after.
    for call in &mut scan.calls {
        let variable = call.name.strip_prefix('$').and_then(|name| scan.settings.get(name)?.as_deref());
        if let Some(program) = variable.and_then(|value| value.split_whitespace().next()) {
            call.name = program.to_owned();
        }
    }
    scan.calls.retain(|call| !call.name.starts_with('$'));
    scan
}

/// Deeper nesting than any script has.
const DEEPEST: u32 = 64;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum End {
    Text,
    Paren,
}

/// A compound command that is open; an `if` whose `then` was read makes what follows uncertain.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Frame {
    If { counted: bool },
    Loop,
    Brace,
    Case,
}

/// One word as written, and its text where nothing in it is expanded.
pub(super) struct Word {
    pub(super) raw: String,
    pub(super) literal: Option<String>,
    /// No part of it is quoted: it may be a reserved word.
    pub(super) bare: bool,
}

pub(super) struct HereDoc {
    pub(super) end: String,
    pub(super) tabs: bool,
}

pub(super) struct Scanner<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
    pub(super) line: u32,
    pub(super) depth: u32,
    pub(super) ifs: u32,
    pub(super) frames: Vec<Frame>,
    pub(super) heredocs: Vec<HereDoc>,
    pub(super) scan: Scan,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8], line: u32, depth: u32, scan: Scan) -> Self {
        Self { text, at: 0, line, depth, ifs: 0, frames: Vec::new(), heredocs: Vec::new(), scan }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn sees(&self, what: &str) -> bool {
        self.text[self.at..].starts_with(what.as_bytes())
    }

    pub(super) fn takes(&mut self, what: &str) -> bool {
        let there = self.sees(what);
        if there {
            self.at += what.len();
        }
        there
    }

    pub(super) fn lose(&mut self) {
        self.scan.lost.get_or_insert(self.line);
        self.at = self.text.len();
    }

    pub(super) fn bashism(&mut self, what: Bashism) {
        self.scan.bashisms.push((what, self.line));
    }

    /// Blanks, and line breaks with a backslash before them.
    pub(super) fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r') => self.at += 1,
                Some(b'\\') if self.sees("\\\n") => {
                    self.at += 2;
                    self.line += 1;
                }
                Some(_) | None => return,
            }
        }
    }

    pub(super) fn comment(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    /// A line break in a list, and the here-documents that begin after it.
    pub(super) fn newline(&mut self) {
        self.at += 1;
        self.line += 1;
        for heredoc in mem::take(&mut self.heredocs) {
            loop {
                if self.at >= self.text.len() {
                    return;
                }
                let from = self.at;
                self.comment();
                let line = String::from_utf8_lossy(&self.text[from..self.at]).into_owned();
                self.at = (self.at + 1).min(self.text.len());
                self.line += 1;
                let line = if heredoc.tabs { line.trim_start_matches('\t') } else { &line };
                if line.trim_end_matches('\r') == heredoc.end {
                    break;
                }
            }
        }
    }

    /// Blanks, line breaks and comments.
    pub(super) fn gap(&mut self) {
        loop {
            self.blanks();
            match self.peek() {
                Some(b'\n') => self.newline(),
                Some(b'#') => self.comment(),
                Some(_) | None => return,
            }
        }
    }

    /// Commands up to the end of the text or of a substitution.
    pub(super) fn list(&mut self, end: End) {
        self.depth += 1;
        if self.depth > DEEPEST {
            self.lose();
        }
        let frames = mem::take(&mut self.frames);
        let ifs = self.ifs;
        let mut behind = false;
        let mut first = self.scan.calls.len();
        loop {
            self.blanks();
            let before = self.at;
            let Some(byte) = self.peek() else {
                if end == End::Paren {
                    self.lose();
                }
                break;
            };
            match byte {
                b'\n' | b';' | b'&' if !self.sees("&&") && !self.sees("&>") => {
                    behind = false;
                    first = self.scan.calls.len();
                    match byte {
                        b'\n' => self.newline(),
                        b';' if self.takes(";;&") || self.takes(";;") || self.takes(";&") => {
                            if self.frames.last() == Some(&Frame::Case) {
                                self.patterns();
                            }
                        }
                        _ => self.at += 1,
                    }
                }
                b'#' => self.comment(),
                b'&' if self.takes("&&") => behind = true,
                b'&' => {
                    self.bashism(Bashism::BothStreams);
                    let _ = self.takes("&>>") || self.takes("&>");
                    self.blanks();
                    self.word();
                }
                b'|' if self.takes("||") => {
                    behind = true;
                    if self.comes_true() {
                        self.scan.calls[first..].iter_mut().for_each(|call| call.reach = Reach::Forgiven);
                    }
                }
                b'|' if self.takes("|&") => self.bashism(Bashism::BothStreams),
                b'|' => self.at += 1,
                b'(' if self.takes_arithmetic() => self.bashism(Bashism::Arithmetic),
                b'(' => {
                    self.at += 1;
                    self.list(End::Paren);
                }
                b')' if end == End::Paren => {
                    self.at += 1;
                    break;
                }
                b')' => self.lose(),
                b'<' | b'>' => self.redirection(),
                _ => self.command(behind),
            }
            if self.at == before {
                self.lose();
            }
        }
        self.frames = frames;
        self.ifs = ifs;
        self.depth -= 1;
    }

    /// Whether the command that comes next does nothing and succeeds.
    fn comes_true(&mut self) -> bool {
        let here = (self.at, self.line);
        self.blanks();
        let rest = &self.text[self.at..];
        let end = rest.iter().position(|byte| b" \t\r\n;&|)".contains(byte)).unwrap_or(rest.len());
        let word = &rest[..end];
        (self.at, self.line) = here;
        word == b"true" || word == b":"
    }

    /// One simple command, or the beginning of a compound one.
    fn command(&mut self, behind: bool) {
        loop {
            self.blanks();
            if self.ends_command() {
                return;
            }
            if self.at_redirection() {
                self.redirection();
                continue;
            }
            if self.assignment() {
                continue;
            }
            let line = self.line;
            let word = self.word();
            match word.literal.as_deref().filter(|_| word.bare) {
                Some("if") => self.frames.push(Frame::If { counted: false }),
                Some("then") => {
                    if let Some(Frame::If { counted: counted @ false }) = self.frames.last_mut() {
                        *counted = true;
                        self.ifs += 1;
                    }
                }
                Some("while" | "until") => self.frames.push(Frame::Loop),
                Some("{") => self.frames.push(Frame::Brace),
                Some("else" | "elif" | "do" | "!" | "time" | "coproc") => {}
                Some("fi" | "done" | "}" | "esac") => {
                    if let Some(Frame::If { counted: true }) = self.frames.pop() {
                        self.ifs -= 1;
                    }
                }
                Some("for" | "select") => return self.loop_head(),
                Some("case") => return self.case(),
                Some("function") => {
                    self.bashism(Bashism::Function);
                    self.blanks();
                    let name = self.word().literal.unwrap_or_default();
                    self.scan.functions.insert(name);
                    self.blanks();
                    if self.takes("(") {
                        self.blanks();
                        self.takes(")");
                    }
                    return;
                }
                Some("[[") => return self.double_bracket(),
                Some(name) if self.takes_function_parens() => {
                    self.scan.functions.insert(name.to_owned());
                    return;
                }
                Some(_) | None => return self.call(word, line, behind),
            }
        }
    }

    fn ends_command(&self) -> bool {
        match self.peek() {
            None => true,
            Some(byte) => matches!(byte, b'\n' | b';' | b'&' | b'|' | b')' | b'#' | b'('),
        }
    }

    fn takes_function_parens(&mut self) -> bool {
        let here = (self.at, self.line);
        self.blanks();
        if self.takes("(") {
            self.blanks();
            if self.takes(")") {
                return true;
            }
        }
        (self.at, self.line) = here;
        false
    }

    fn call(&mut self, name: Word, line: u32, behind: bool) {
        let mut words = Vec::new();
        loop {
            self.blanks();
            if self.peek() == Some(b'(') && words.last().is_some_and(|word: &Word| word.raw.ends_with('=')) {
                self.array();
            }
            if self.ends_command() {
                break;
            }
            if self.at_redirection() {
                self.redirection();
            } else {
                let before = self.at;
                words.push(self.word());
                if self.at == before {
                    return self.lose();
                }
            }
        }
        let reach = if behind || self.ifs > 0 { Reach::Maybe } else { Reach::Always };
        for word in &words {
            if let Some(value) = word.raw.strip_prefix("PATH=") {
                self.scan.paths.push(value.to_owned());
            }
        }
        let Some(name) = name.literal.or_else(|| variable(&name.raw)) else { return };
        let first = words.first();
        // The shell becomes another program here: what follows, if anything, is in that one's language.
        let hands_over = match name.as_str() {
            "exec" => first.is_some(),
            "eval" => first.and_then(|word| word.literal.as_ref()).is_some_and(|word| word.starts_with("exec ")),
            _ => false,
        };
        let hands_over = hands_over && reach == Reach::Always && self.depth == 1 && self.frames.is_empty();
        if matches!(name.as_str(), "." | "source") {
            self.scan.sources.extend(words.first().map(|word| word.raw.clone()));
        }
        self.note(name, words.into_iter().map(|word| word.literal).collect(), line, reach);
        if hands_over {
            self.at = self.text.len();
        }
    }

    /// Takes a call down, and what it calls in turn.
    fn note(&mut self, name: String, words: Vec<Option<String>>, line: u32, reach: Reach) {
        let literal = |at: usize| words.get(at).and_then(Option::as_deref);
        match name.as_str() {
            "command" if matches!(literal(0), Some("-v" | "-V")) => {
                self.scan.asked.extend(words.iter().skip(1).flatten().cloned());
            }
            "which" | "type" | "hash" => self.scan.asked.extend(words.iter().flatten().cloned()),
            "[" | "test" => {
                let asked = words.windows(2).filter(|pair| matches!(pair[0].as_deref(), Some("-x" | "-f" | "-e")));
                self.scan.asked.extend(asked.filter_map(|pair| pair[1].clone()));
            }
            "alias" => {
                let names = words.iter().flatten().filter_map(|word| word.split_once('='));
                self.scan.functions.extend(names.map(|(name, _)| name.to_owned()));
            }
            "exec" | "command" | "nohup" | "setsid" | "sudo" | "env" => {
                let is_setting = |word: &str| name == "env" && word.contains('=');
                let at = (0..words.len()).find(|at| !literal(*at).is_some_and(is_setting));
                if let Some((at, called)) = at.and_then(|at| Some((at, literal(at)?)))
                    && !called.starts_with('-')
                {
                    let (called, rest) = (called.to_owned(), words[at + 1..].to_vec());
                    self.note(called, rest, line, reach);
                }
            }
            _ => {}
        }
        if let Some(bashism) = Bashism::of_call(&name, &words) {
            self.scan.bashisms.push((bashism, line));
        }
        self.scan.calls.push(Call { name, line, reach, words });
    }
}

/// `$NAME` for a word that is one variable and nothing else, however it is quoted.
fn variable(raw: &str) -> Option<String> {
    let name = raw.trim_matches('"').strip_prefix('$')?;
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (plain && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')).then(|| format!("${name}"))
}
