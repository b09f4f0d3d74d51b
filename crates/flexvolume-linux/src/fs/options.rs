//! Options of mkfs and mount, held against a list: they may come from a tenant, and some of them stop the node
//! (`errors=panic`), open other devices (`logdev=`) or read the host's files (`-d DIR`).

use super::kind::FsType;
use crate::{Error, ErrorKind, Result, mount::Flags};

/// A mount option: its name and, if it has one, its value.
pub(super) type MountOption = (String, Option<String>);

/// What may stand behind an option.
#[derive(Clone, Copy)]
enum Value {
    /// Nothing.
    No,
    /// A decimal number.
    Number,
    /// A word without a slash, blank or quote.
    Word,
    /// A word, or nothing.
    Maybe,
    /// One of these.
    One(&'static [&'static str]),
    /// Parts separated by commas, each beginning with one of these keys (separated by blanks).
    Keys(&'static str),
}

use Value::{Keys, Maybe, No, Number, One, Word};

/// Names, separated by blanks, and what may stand behind each.
type Rules = &'static [(&'static str, Value)];

/// What every file system takes, and what every mount has.
const ANY_MOUNT: Rules =
    &[("sync async dirsync lazytime nolazytime", No), ("atime noatime diratime nodiratime relatime strictatime", No)];

const EXT_MOUNT: Rules = &[
    ("acl noacl user_xattr nouser_xattr discard nodiscard delalloc nodelalloc noauto_da_alloc block_validity", No),
    ("noblock_validity dioread_lock dioread_nolock noload norecovery quota noquota usrquota grpquota prjquota", No),
    ("grpid nogrpid bsdgroups sysvgroups nobarrier bsddf minixdf i_version noinit_itable journal_checksum", No),
    ("auto_da_alloc barrier init_itable", Maybe),
    ("commit stripe resuid resgid", Number),
    ("data", One(&["journal", "ordered", "writeback"])),
    ("errors", One(&["remount-ro"])),
];

const XFS_MOUNT: Rules = &[
    ("discard nodiscard inode32 inode64 largeio nolargeio norecovery swalloc wsync filestreams grpid nogrpid", No),
    ("noquota quota usrquota uquota grpquota gquota prjquota pquota", No),
    ("allocsize logbsize", Word),
    ("sunit swidth", Number),
];

const BTRFS_MOUNT: Rules = &[
    ("acl noacl autodefrag noautodefrag barrier nobarrier datacow nodatacow datasum nodatasum nodiscard", No),
    ("flushoncommit noflushoncommit skip_balance ssd nossd ssd_spread nossd_spread treelog notreelog", No),
    ("compress compress-force discard space_cache", Maybe),
    ("max_inline subvol", Word),
    ("commit subvolid", Number),
];

const EXT_MKFS: Rules = &[
    ("-D -j", No),
    ("-b -i -I -N -g -G -r", Number),
    ("-C -m -O -T -L", Word),
    ("-e", One(&["continue", "remount-ro"])),
    ("-J", Keys("size fast_commit_size")),
    (
        "-E",
        Keys(
            "assume_storage_prezeroed discard nodiscard lazy_itable_init lazy_journal_init stride stripe_width \
             stripe-width resize packed_meta_blocks num_backup_sb root_owner root_perms encoding encoding_flags \
             quotatype hash_seed mmp_update_interval orphan_file_size",
        ),
    ),
];

const XFS_MKFS: Rules = &[
    ("-K", No),
    ("-L", Word),
    ("-b", Keys("size log")),
    ("-s", Keys("size sectsize")),
    ("-d", Keys("agcount agsize sunit swidth su sw noalign concurrency cowextsize extszinherit projinherit")),
    ("-i", Keys("size perblock maxpct attr projid32bit sparse nrext64 exchange")),
    ("-l", Keys("size version sunit su lazy-count sectsize agnum concurrency")),
    ("-m", Keys("crc finobt rmapbt reflink inobtcount bigtime metadir")),
    ("-n", Keys("size version ftype parent")),
];

const BTRFS_MKFS: Rules = &[
    ("-M --mixed -K --nodiscard", No),
    ("-d --data -m --metadata --csum --checksum -O --features -R --runtime-features -L --label", Word),
    ("-n --nodesize -s --sectorsize", Number),
];

/// Whether `given` may be handed to a mount of `fs_type`.
///
/// # Errors
/// `Refused`, naming the option: it is not on the list, has a value it must not have, or (suid, dev, exec) is the
/// administrator's to give.
pub fn check_mount_options(fs_type: FsType, given: &[(String, Option<String>)]) -> Result<()> {
    mount_options(fs_type, given, Flags::default()).map(drop)
}

/// Whether `given`, as arguments, may be handed to mkfs of `fs_type`.
///
/// # Errors
/// `Refused`, naming the option.
pub fn check_mkfs_options(fs_type: FsType, given: &[String]) -> Result<()> {
    let rules = match fs_type {
        FsType::Ext3 | FsType::Ext4 => EXT_MKFS,
        FsType::Xfs => XFS_MKFS,
        FsType::Btrfs => BTRFS_MKFS,
    };
    let mut rest = given.iter();
    while let Some(arg) = rest.next() {
        let refuse = |why: &str| refused(&format!("mkfs option \"{}\"", shown(arg)), fs_type, why);
        let (flag, attached) = split_flag(arg).ok_or_else(|| refuse("is no option of mkfs"))?;
        let value = rule(rules, flag).ok_or_else(|| refuse("is not on the list"))?;
        match (value, attached) {
            (No, None) => {}
            (No, Some(_)) => return Err(refuse("takes no value")),
            (_, Some(text)) if value.takes(Some(text)) => {}
            (_, None) if rest.next().is_some_and(|text| value.takes(Some(text))) => {}
            _ => return Err(refuse("lacks a value or has one that is not allowed")),
        }
    }
    Ok(())
}

/// The options for the file system and the flags for the mount. Tightening ones (`ro`, `nosuid`, …) become flags;
/// ext3 and ext4 always go read-only on an error, whatever the superblock, which the tenant writes, asks for.
pub(super) fn mount_options(fs_type: FsType, given: &[MountOption], flags: Flags) -> Result<(Vec<MountOption>, Flags)> {
    let rules = match fs_type {
        FsType::Ext3 | FsType::Ext4 => EXT_MOUNT,
        FsType::Xfs => XFS_MOUNT,
        FsType::Btrfs => BTRFS_MOUNT,
    };
    let mut flags = flags;
    let mut options: Vec<MountOption> = Vec::new();
    for (name, value) in given {
        let refuse = |why: &str| refused(&format!("mount option \"{}\"", shown(name)), fs_type, why);
        match (name.as_str(), value) {
            ("defaults" | "rw", None) => {}
            ("ro", None) => flags.read_only = true,
            ("nosuid", None) => flags.nosuid = true,
            ("nodev", None) => flags.nodev = true,
            ("noexec", None) => flags.noexec = true,
            ("suid" | "dev" | "exec", _) => return Err(refuse("is the administrator's to give, not the volume's")),
            (key, value) => {
                let known = rule(rules, key).or_else(|| rule(ANY_MOUNT, key));
                let known = known.ok_or_else(|| refuse("is not on the list"))?;
                if !known.takes(value.as_deref()) {
                    return Err(refuse("lacks a value or has one that is not allowed"));
                }
                if key != "errors" {
                    options.push((name.clone(), value.clone()));
                }
            }
        }
    }
    match fs_type {
        FsType::Ext3 | FsType::Ext4 => options.push(("errors".to_owned(), Some("remount-ro".to_owned()))),
        FsType::Xfs | FsType::Btrfs => {}
    }
    Ok((options, flags))
}

fn rule(rules: Rules, name: &str) -> Option<Value> {
    rules.iter().find(|(names, _)| is_among(name, names)).map(|(_, value)| *value)
}

fn is_among(name: &str, names: &str) -> bool {
    names.split_ascii_whitespace().any(|one| one == name)
}

impl Value {
    fn takes(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (No | Maybe, None) => true,
            (No, Some(_)) | (Number | Word | One(_) | Keys(_), None) => false,
            (Number, Some(text)) => (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
            (Word | Maybe, Some(text)) => is_word(text),
            (One(list), Some(text)) => list.contains(&text),
            (Keys(keys), Some(text)) => {
                is_word(text) && text.split(',').all(|part| is_among(part.split('=').next().unwrap_or(part), keys))
            }
        }
    }
}

/// Nothing that could be a path, a second option or another device.
fn is_word(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:,=^+%-@".contains(&byte))
}

/// `-bVALUE`, `-b`, `--long=VALUE` or `--long`.
fn split_flag(arg: &str) -> Option<(&str, Option<&str>)> {
    if !arg.is_ascii() || arg.len() < 2 || !arg.starts_with('-') {
        return None;
    }
    if arg.starts_with("--") {
        return Some(arg.split_once('=').map_or((arg, None), |(flag, value)| (flag, Some(value))));
    }
    let (flag, rest) = arg.split_at(2);
    Some((flag, Some(rest).filter(|rest| !rest.is_empty())))
}

fn shown(text: &str) -> String {
    text.escape_debug().take(80).collect()
}

fn refused(what: &str, fs_type: FsType, why: &str) -> Error {
    Error::new(ErrorKind::Refused, format!("{what} for {fs_type} is refused: it {why}"))
        .with_hint("leave the option out, or set it where the administrator configures the driver")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mount(fs_type: FsType, text: &str) -> Result<(Vec<MountOption>, Flags)> {
        let given: Vec<MountOption> = text
            .split(',')
            .filter(|part| !part.is_empty())
            .map(|part| match part.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (part.to_owned(), None),
            })
            .collect();
        mount_options(fs_type, &given, Flags::default())
    }

    fn mkfs(fs_type: FsType, text: &str) -> bool {
        check_mkfs_options(fs_type, &text.split(' ').map(str::to_owned).collect::<Vec<_>>()).is_ok()
    }

    #[test]
    fn ext_always_goes_read_only_on_errors() {
        for fs_type in [FsType::Ext3, FsType::Ext4] {
            for given in ["", "errors=remount-ro", "noatime"] {
                let (options, _) = mount(fs_type, given).unwrap();
                let errors: Vec<_> = options.iter().filter(|(name, _)| name == "errors").collect();
                assert_eq!(errors, [&("errors".to_owned(), Some("remount-ro".to_owned()))]);
            }
        }
        assert_eq!(mount(FsType::Xfs, "").unwrap().0, []);
    }

    #[test]
    fn what_harms_the_node_is_refused() {
        let ext4 = [
            "errors=panic",
            "errors=continue",
            "errors",
            "journal_dev=2049",
            "journal_path=/dev/sda",
            "abort",
            "suid",
            "dev",
            "exec",
            "loop",
            "context=x",
            "sb=1",
            "data=x",
            "commit=",
            "commit=-1",
            "debug",
        ];
        for bad in ext4 {
            assert_eq!(mount(FsType::Ext4, bad).unwrap_err().kind(), ErrorKind::Refused, "{bad}");
        }
        for bad in ["logdev=/dev/sda", "rtdev=/dev/sda", "nouuid", "remount", "allocsize=/x"] {
            assert!(mount(FsType::Xfs, bad).is_err(), "{bad}");
        }
        for bad in ["device=/dev/sda", "fatal_errors=panic", "degraded", "rescue=all", "subvol=../x"] {
            assert!(mount(FsType::Btrfs, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tightening_becomes_flags() {
        let (options, flags) = mount(FsType::Btrfs, "defaults,rw,ro,noexec,nosuid,nodev,compress=zstd:3").unwrap();
        assert_eq!(options, [("compress".to_owned(), Some("zstd:3".to_owned()))]);
        assert!(flags.read_only && flags.noexec && flags.nosuid && flags.nodev);
    }

    #[test]
    fn mkfs_options_reach_nothing_but_the_device() {
        for good in
            ["-b 4096", "-b4096 -m 1", "-E lazy_itable_init=0,nodiscard", "-O ^has_journal,metadata_csum", "-J size=4"]
        {
            assert!(mkfs(FsType::Ext4, good), "{good}");
        }
        for bad in [
            "-d /etc",
            "-z /etc/passwd",
            "-J device=/dev/sda",
            "-E offset=1",
            "-U x",
            "-n",
            "-S",
            "-l f",
            "-b",
            "4096",
            "/dev/sda",
            "-L -n",
            "-e panic",
            "-F",
        ] {
            assert!(!mkfs(FsType::Ext4, bad), "{bad}");
        }
        for good in ["-m reflink=0,crc=1", "-d agcount=2", "-l size=16m", "-K"] {
            assert!(mkfs(FsType::Xfs, good), "{good}");
        }
        for bad in
            ["-m uuid=x", "-d file,name=x", "-d name=sda", "-l logdev=sda", "-r rtdev=x", "-p f", "-c options=f", "-N"]
        {
            assert!(!mkfs(FsType::Xfs, bad), "{bad}");
        }
        for good in ["--csum xxhash", "--csum=xxhash", "-m single", "-M"] {
            assert!(mkfs(FsType::Btrfs, good), "{good}");
        }
        for bad in ["-r /etc", "--rootdir=/etc", "-U x", "-b 1", "--shrink", "-f", "-- /dev/sda"] {
            assert!(!mkfs(FsType::Btrfs, bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(args in prop::collection::vec("\\PC{0,12}|-[a-zA-Z].{0,4}|--[a-z=,]{0,9}", 0..5), name in "\\PC{0,12}", value in prop::option::of("\\PC{0,12}")) {
            for fs_type in FsType::ALL {
                let _ = check_mkfs_options(fs_type, &args);
                let _ = check_mount_options(fs_type, &[(name.clone(), value.clone())]);
            }
        }
    }
}
