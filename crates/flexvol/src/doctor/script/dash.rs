//! What bash understands and dash does not, and what dash makes of it.

use std::fmt;

/// One thing that only bash understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Bashism {
    DoubleBracket,
    Function,
    Array,
    Append,
    ProcessSubstitution,
    HereString,
    BothStreams,
    Arithmetic,
    DollarQuote,
    Parameter,
    EchoFlags,
    DoubleEquals,
    PipeFail,
    ReadFlags,
    PrintfV,
    TrapName,
    LocalFlags,
    /// A command that is built into bash alone.
    Builtin(&'static str),
}

const BUILTINS: &[&str] = &[
    "source",
    "declare",
    "typeset",
    "let",
    "shopt",
    "pushd",
    "popd",
    "mapfile",
    "readarray",
    "disown",
    "enable",
    "caller",
    "compgen",
];

impl Bashism {
    /// By the name of a command and its words.
    pub(super) fn of_call(name: &str, words: &[Option<String>]) -> Option<Self> {
        let mut literal = words.iter().flatten().map(String::as_str);
        let first = words.first().and_then(Option::as_deref).unwrap_or_default();
        let flags = |allowed: &str| {
            let flags = first.strip_prefix('-').filter(|flags| !flags.is_empty());
            flags.is_some_and(|flags| flags.chars().any(|flag| !allowed.contains(flag)))
        };
        match name {
            // dash knows -n alone, and only by itself.
            "echo" => {
                let is_flag =
                    first.len() > 1 && first.starts_with('-') && first[1..].chars().all(|c| "neE".contains(c));
                (is_flag && first != "-n").then_some(Self::EchoFlags)
            }
            "[" | "test" => literal.any(|word| word == "==").then_some(Self::DoubleEquals),
            "set" => literal.any(|word| word == "pipefail").then_some(Self::PipeFail),
            "read" => flags("rp").then_some(Self::ReadFlags),
            "printf" => (first == "-v").then_some(Self::PrintfV),
            "trap" => matches!(literal.next_back(), Some("ERR" | "DEBUG" | "RETURN")).then_some(Self::TrapName),
            "local" => (first.starts_with('-') && first.len() > 1).then_some(Self::LocalFlags),
            _ => BUILTINS.iter().find(|builtin| **builtin == name).map(|builtin| Self::Builtin(builtin)),
        }
    }

    /// By the inside of `${…}`: a parameter's name, and what follows it.
    pub(super) fn of_parameter(name: &[u8], rest: &[u8]) -> Option<Self> {
        let next = rest.get(1).copied().unwrap_or_default();
        match rest.first()? {
            b'[' if !name.is_empty() => Some(Self::Array),
            b'!' if name.is_empty() && (next.is_ascii_alphabetic() || next == b'_') => Some(Self::Parameter),
            b':' if !name.is_empty() && !b"-=?+".contains(&next) => Some(Self::Parameter),
            b'/' | b'^' | b',' | b'@' if !name.is_empty() => Some(Self::Parameter),
            _ => None,
        }
    }
}

impl fmt::Display for Bashism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DoubleBracket => "[[ … ]] (not found)",
            Self::Function => "the word function (not found)",
            Self::Array => "an array (syntax error)",
            Self::Append => "NAME+=VALUE (not found)",
            Self::ProcessSubstitution => "<( … ) (syntax error)",
            Self::HereString => "<<< (syntax error)",
            Self::BothStreams => "&> or |& (read as & and >)",
            Self::Arithmetic => "(( … )) (read as commands)",
            Self::DollarQuote => "$'…' (printed with its dollar)",
            Self::Parameter => "${…} with a part or a replacement (bad substitution)",
            Self::EchoFlags => "echo -e (prints the -e, which spoils the answer)",
            Self::DoubleEquals => "== in [ … ] (unexpected operator)",
            Self::PipeFail => "set -o pipefail (illegal option)",
            Self::ReadFlags => "read with bash's flags (illegal option)",
            Self::PrintfV => "printf -v (illegal option)",
            Self::TrapName => "trap … ERR (bad trap)",
            Self::LocalFlags => "local with flags (bad variable name)",
            Self::Builtin(name) => return write!(f, "{name} (not found)"),
        })
    }
}
