//! What a person may type after `cargo xtask guest`.

use super::{
    case::{SUITES, Suite},
    qemu::{Cache, Spec},
};
use std::path::PathBuf;
use std::time::Duration;

/// One of the verbs.
pub(super) enum Verb {
    /// Only the image, a new one in any case if `fresh`.
    Image {
        fresh: bool,
    },
    Run(Box<Wish>),
    Suite {
        suite: &'static Suite,
        filter: Option<String>,
        here: bool,
        /// How long each case may take, where that is not what the test door allows.
        limit: Option<Duration>,
    },
    /// This executable inside a guest, with its port to the host.
    Agent(String),
}

/// A command in a machine.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) spec: Spec,
    pub(super) disks: Vec<DiskWish>,
    pub(super) cache: Cache,
    pub(super) argv: Vec<String>,
    /// Where the executables are, if they shall not be built.
    pub(super) bin: Option<PathBuf>,
    /// Executables besides.
    pub(super) programs: Vec<PathBuf>,
    /// For `sh -c` in a second machine on a wire.
    pub(super) beside: Option<String>,
    pub(super) limit: Duration,
}

/// A disk of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DiskWish {
    /// A new one of so many bytes that goes with the machine.
    New(u64),
    /// A raw file that stays.
    File(PathBuf),
}

const LIMIT: Duration = Duration::from_secs(600);

impl Spec {
    /// A machine as most want it.
    pub(crate) fn plain(name: &str) -> Spec {
        Spec {
            name: name.to_owned(),
            smp: 1,
            memory: 1024,
            disks: Vec::new(),
            udev: false,
            kernel: Vec::new(),
            share: None,
            plug: None,
        }
    }
}

/// Reads the words after the door's name. An error is a sentence for who typed them.
pub(super) fn parse(words: &[String]) -> Result<Verb, String> {
    let (verb, rest) = words.split_first().ok_or("say what the guest is for: a suite, `run` or `image`")?;
    match (verb.as_str(), rest) {
        ("image", []) => Ok(Verb::Image { fresh: false }),
        ("image", [word]) if word == "--fresh" => Ok(Verb::Image { fresh: true }),
        ("agent", [port]) => Ok(Verb::Agent(port.clone())),
        ("run", rest) => wish(rest).map(|wish| Verb::Run(Box::new(wish))),
        (name, rest) => {
            let suite = SUITES.iter().find(|suite| suite.name == name);
            let suite = suite.ok_or_else(|| format!("`{name}` is neither a suite nor a verb of this door"))?;
            let (mut filter, mut here, mut limit) = (None, false, None);
            let mut words = rest.iter();
            while let Some(word) = words.next() {
                match (word.as_str(), &filter) {
                    ("--here", _) => here = true,
                    ("--limit", _) => {
                        let text = words.next().ok_or("`--limit` wants a value")?;
                        let seconds = text.parse().map_err(|_| format!("`{text}` is no number, for `--limit`"))?;
                        limit = Some(Duration::from_secs(seconds));
                    }
                    (odd, _) if odd.starts_with('-') => return Err(format!("`{odd}` is no option of a suite")),
                    (name, None) => filter = Some(name.to_owned()),
                    (more, Some(_)) => return Err(format!("one filter is enough; `{more}` is another")),
                }
            }
            Ok(Verb::Suite { suite, filter, here, limit })
        }
    }
}

fn wish(words: &[String]) -> Result<Wish, String> {
    let mut wish = Wish {
        spec: Spec::plain("guest"),
        disks: Vec::new(),
        cache: Cache::Unsafe,
        argv: Vec::new(),
        bin: None,
        programs: Vec::new(),
        beside: None,
        limit: LIMIT,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or_else(|| format!("`{word}` wants a value"));
        let number = |text: String| text.parse::<u32>().map_err(|_| format!("`{text}` is no number, for `{word}`"));
        match word.as_str() {
            "--disk" => wish.disks.push(disk(&value()?)),
            "--cache" => {
                let text = value()?;
                wish.cache = Cache::parse(&text).ok_or_else(|| format!("`{text}` is no way to cache a disk"))?;
            }
            "--smp" => wish.spec.smp = number(value()?)?,
            "--memory" => wish.spec.memory = number(value()?)?,
            "--kernel" => wish.spec.kernel.push(value()?),
            "--bin" => wish.bin = Some(value()?.into()),
            "--program" => wish.programs.push(value()?.into()),
            "--share" => wish.spec.share = Some(value()?.into()),
            "--limit" => wish.limit = Duration::from_secs(number(value()?)?.into()),
            "--udev" => wish.spec.udev = true,
            "--beside" => wish.beside = Some(value()?),
            "--" => {
                wish.argv = words.cloned().collect();
                break;
            }
            odd => return Err(format!("`{odd}` is no option of `run`; the command stands after `--`")),
        }
    }
    if wish.argv.is_empty() {
        return Err("say what to run, after `--`".into());
    }
    Ok(wish)
}

/// `64M` is a new disk of that size; all else is a file.
fn disk(word: &str) -> DiskWish {
    size(word).map_or_else(|| DiskWish::File(word.into()), DiskWish::New)
}

fn size(word: &str) -> Option<u64> {
    let (digits, shift) = match word.char_indices().last()? {
        (at, 'K' | 'k') => (&word[..at], 10),
        (at, 'M' | 'm') => (&word[..at], 20),
        (at, 'G' | 'g') => (&word[..at], 30),
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn wished(text: &str) -> Result<Wish, String> {
        wish(&words(text))
    }

    #[test]
    fn a_run_is_read() {
        let wish = wished(
            "--disk 64M --disk /d.raw --cache none --smp 2 --memory 512 --udev --limit 9 --kernel a=b --program /x/y -- ls --disk /",
        )
        .unwrap();
        assert_eq!(wish.disks, [DiskWish::New(64 << 20), DiskWish::File("/d.raw".into())]);
        assert_eq!((wish.cache, wish.spec.smp, wish.spec.memory, wish.spec.udev), (Cache::None, 2, 512, true));
        assert_eq!((wish.limit, wish.spec.kernel.as_slice()), (Duration::from_secs(9), &["a=b".to_owned()][..]));
        assert_eq!((wish.argv, wish.programs), (words("ls --disk /"), vec!["/x/y".into()]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("", "after `--`"),
            ("--", "after `--`"),
            ("ls", "`ls`"),
            ("--smp", "`--smp`"),
            ("--smp two -- ls", "`two`"),
            ("--cache much -- ls", "`much`"),
        ] {
            let why = wished(text).unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
        for (text, word) in [("", "suite"), ("nosuch", "`nosuch`"), ("lvm a b", "`b`"), ("lvm --there", "`--there`")] {
            let why = parse(&words(text)).err().unwrap();
            assert!(why.contains(word), "{text}: {why}");
        }
    }

    #[test]
    fn a_suite_has_a_filter_and_may_run_here() {
        let Ok(Verb::Suite { suite, filter, here, limit }) = parse(&words("lvm --here thin --limit 60")) else {
            panic!()
        };
        assert_eq!(limit, Some(Duration::from_secs(60)));
        assert_eq!((suite.name, filter.as_deref(), here), ("lvm", Some("thin"), true));
        assert!(matches!(parse(&words("image --fresh")), Ok(Verb::Image { fresh: true })));
    }
}
