//! What help and manual pages say beyond the flags: examples, exit codes, variables and files, each in one table.

use flexvolume_host::settings;

/// The heading above the flags that every verb has.
pub(crate) const GLOBAL: &str = "Options of every verb";

/// Exit codes and what they mean.
pub(crate) const EXIT_CODES: &[(&str, &str)] = &[
    ("0", "done, or nothing was to be done"),
    ("1", "a driver or the system failed"),
    ("2", "bad usage, a bad manifest, bad settings"),
    ("3", "no such driver, pod or file"),
    ("4", "refused, since data or trust would be at risk"),
    ("5", "busy: another process is at it, or a call has not ended"),
    ("6", "the ledger cannot be read or written"),
    ("7", "nothing was judged"),
    ("130", "ended by SIGINT before all was done"),
    ("143", "ended by SIGTERM before all was done"),
];

/// What the codes do not say by themselves.
pub(crate) const EXIT_CODES_REST: &str = "If several things fail, the code is that of the first. In exec the code is \
    the command's own; 127 if there is no such command, 126 if it cannot be run. In doctor it is 1 if a problem was \
    found, in check if the driver is not fit.";

/// Variables that are no flag's.
pub(crate) const ENVIRONMENT: &[(&str, &str)] = &[
    ("NO_COLOR", "If it is set and not empty, nothing is coloured."),
    ("CLICOLOR", "If it is 0, nothing is coloured."),
    ("CLICOLOR_FORCE", "If it is set and not 0, colours are used though the output is no terminal."),
    ("TERM", "If it is dumb or not set, nothing is coloured and no progress is drawn."),
];

/// Files and folders.
pub(crate) const FILES: &[(&str, &str)] = &[
    (settings::ROOT, "The root: ledger, locks and mounts."),
    (settings::PLUGIN_DIR, "The plugin directory; the driver VENDOR/NAME is VENDOR~NAME/NAME there."),
    (settings::CONFIG, "Settings of the host. A missing file sets nothing."),
];

/// What the long help and the manual page of one verb say besides.
pub(crate) struct Verb {
    /// The verb.
    pub(crate) name: &'static str,
    /// What one sentence could not hold.
    pub(crate) more: &'static str,
    /// What people type: a sentence and the line.
    pub(crate) examples: &'static [(&'static str, &'static str)],
}

/// Every verb.
pub(crate) const VERBS: &[Verb] = &[
    Verb {
        name: "up",
        more: "Everything is read and checked before anything is begun; what fails then does not keep the others from \
            coming up, and is tried again with --wait. The same manifests again change nothing.",
        examples: &[
            ("Bring up the volumes of every pod in a file:", "flexvol up pod.yaml"),
            ("Of a whole folder, eight volumes of each driver at once:", "flexvol up --jobs 8 manifests/"),
            (
                "Wait for drivers and backends that are not ready yet, five minutes at most:",
                "flexvol up --timeout 5m pod.yaml",
            ),
            ("From standard input, the result for a program:", "kubectl get pod web -o yaml | flexvol -o json up -"),
        ],
    },
    Verb {
        name: "down",
        more: "What cannot be taken is reported, the rest goes. A volume in use is not torn from its users. What earlier \
            runs left unfinished is ended too. No secret is needed.",
        examples: &[
            ("Take down what a manifest brought up:", "flexvol down pod.yaml"),
            ("By the pod's name:", "flexvol down default/web"),
            ("Everything, eight volumes of each driver at once:", "flexvol down --all --jobs 8"),
        ],
    },
    Verb {
        name: "exec",
        more: "Nobody else sees the volumes there, and nothing is written to the file system for them. All volumes of the \
            pod must be mounted. Needs root, or a user namespace.",
        examples: &[
            ("A shell that sees the pod's volumes at their mount paths:", "flexvol exec web -- sh"),
            ("As one container of the pod sees them:", "flexvol exec web -c reader -- ls -l /files"),
        ],
    },
    Verb {
        name: "ls",
        more: "The state is `mounted`, or how far the volume is, and when it is tried again if an `up --wait` runs. Below \
            the table stands why the last try failed.",
        examples: &[
            ("Who uses which volume, and how full it is:", "flexvol ls --usage"),
            ("Volumes that are not mounted:", "flexvol -o json ls | jq '.[] | select(.state != \"mounted\")'"),
        ],
    },
    Verb {
        name: "inspect",
        more: "It asks no driver and waits for no file system, so that it answers whatever hangs. A Secret is named, its values \
            are not known. The last 50 calls of drivers are kept, until the volume is gone.",
        examples: &[
            ("By the pod and its name for the volume:", "flexvol inspect default/web/data"),
            ("By the key that ls and the log name:", "flexvol inspect flexvol.io/loopback/data"),
            (
                "What drivers were asked, and what came of it:",
                "flexvol -o json inspect web/data | jq -c '.history[] | [.at, .verb, .verdict]'",
            ),
        ],
    },
    Verb {
        name: "drivers",
        more: "Each is asked `init`. One that cannot be run or does not answer is listed as broken; the reason follows, and \
            the exit code is not 0. With --watch it goes on until it is ended, and tells of each driver that comes, answers \
            anew, fails or goes.",
        examples: &[
            ("What is in the plugin directory:", "flexvol drivers"),
            ("What comes and goes there, for a program:", "flexvol -o json drivers --watch"),
            ("In another one:", "flexvol --plugin-dir /opt/flexvolume drivers"),
        ],
    },
    Verb {
        name: "doctor",
        more: "It looks at the plugin directory, drivers, kernel and tools, mounts, the root and leftover volumes. Each \
            driver is asked `init`. Below a finding stands why it matters, what mends it and what to type. The exit code is \
            1 if there is a problem, whatever else was found.",
        examples: &[
            ("What is wrong here:", "flexvol doctor"),
            ("With one driver, and what is in order too:", "flexvol -v doctor example.com/nfs"),
            ("The commands that mend what was found:", "flexvol -o json doctor | jq -r '.findings[].run[]'"),
        ],
    },
    Verb {
        name: "install",
        more: "It is copied to a dot file there, then renamed, so that nobody ever runs half a driver. Calls that run go on \
            with the old one.",
        examples: &[("Put a driver in place:", "flexvol install ./lvm --as example.com/lvm")],
    },
    Verb {
        name: "call",
        more: "The driver gets exactly these arguments; if one of them is -, it gets standard input too. The exit code is 0 \
            if the call could be made, whatever the driver answered. What you type is shown: put no real secrets there. \
            The ledger knows nothing of such a call; unmount by hand what you mount by hand.",
        examples: &[
            ("See whether a driver answers:", "flexvol call example.com/nfs init"),
            ("Mount by hand:", "flexvol call example.com/nfs mount /mnt/try '{\"share\":\"nas:/export\"}'"),
        ],
    },
    Verb {
        name: "check",
        more: "Every call is made as hosts make it, and what came of it is looked at in the kernel. Without --destroy nothing \
            is done that may cost what the volume holds, beyond mounting it and writing a file and two links of its own, which it removes. A driver that makes \
            volumes is judged by its own at --level flexvol, if the description has `create`, their parameters. The exit \
            code is 1 if a check failed that must not, and 7 if nothing could be judged. SIGINT and SIGTERM end the call that is \
            under way, if that may be; what was begun is taken away, and what was found so far is told. What a judge that was killed \
            had begun with this driver in this --scratch is taken away first. Needs root.",
        examples: &[
            (
                "Judge a driver by a volume that may be lost:",
                "flexvol check ./mydriver --options volume.json --destroy",
            ),
            ("What is demanded, and why:", "flexvol check --list"),
            ("What is demanded of mounts alone:", "flexvol check --list --only mount"),
            (
                "An installed driver, with its extensions, for a build server:",
                "flexvol check --level flexvol --junit report.xml example.com/folders --options volume.json",
            ),
            ("One group, check by check:", "flexvol -v check --only mount ./mydriver --options volume.json"),
        ],
    },
    Verb {
        name: "csi",
        more: "What each driver can do is read from its answer to init: clients are told that and nothing more. Only root may \
            call. What is mounted stays mounted when this ends, and is known again when it is started anew. With --all a driver is \
            served from its first answer to init until it is gone and its last volume on this node with it. Where a kubelet is, \
            each is registered with it.",
        examples: &[
            ("Serve every driver there is, and tell Prometheus of it:", "flexvol csi --all --metrics 9808"),
            ("Serve one driver where the kubelet looks for it:", "flexvol csi --driver flexvol.io/loopback"),
            (
                "At a socket of your own, for a client without Kubernetes:",
                "flexvol csi --driver flexvol.io/loopback --kubelet-dir /srv/csi --endpoint unix:///run/csi.sock",
            ),
            (
                "What Kubernetes needs to have it served on its nodes:",
                "flexvol csi manifests flexvol.io/loopback --image registry.example.com/flexvol:0.1.0 | kubectl apply -f -",
            ),
        ],
    },
    Verb {
        name: "completions",
        more: "Shells find such scripts in folders of their own; bash, zsh and fish in those below.",
        examples: &[
            ("bash:", "flexvol completions bash > /usr/share/bash-completion/completions/flexvol"),
            ("zsh:", "flexvol completions zsh > /usr/local/share/zsh/site-functions/_flexvol"),
            ("fish:", "flexvol completions fish > /usr/share/fish/vendor_completions.d/flexvol.fish"),
        ],
    },
    Verb {
        name: "man",
        more: "The pages say what the help says, and more.",
        examples: &[
            ("Read one page:", "flexvol man up | man -l -"),
            ("Write all of them to where man looks:", "flexvol man --to /usr/local/share/man/man1"),
        ],
    },
    Verb {
        name: "schema",
        more: "Fields may be added in any version. None is removed, and none changes its meaning, before the next major one. \
            While the version begins with 0., its second number counts as the major one.",
        examples: &[("What a row of ls is:", "flexvol schema ls")],
    },
];

/// The exit codes as help shows them.
pub(crate) fn exit_codes() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for (code, meaning) in EXIT_CODES {
        text.push_str(&format!("  {code}  {meaning}\n"));
    }
    text + "\n" + EXIT_CODES_REST
}

/// Examples as help shows them.
pub(crate) fn examples(examples: &[(&str, &str)]) -> String {
    let text: Vec<_> = examples.iter().map(|(what, line)| format!("  {what}\n      {line}")).collect();
    format!("Examples:\n{}", text.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_says_more_and_has_examples_that_can_be_typed() {
        let command = crate::cli::command();
        for verb in command.get_subcommands() {
            let found = VERBS.iter().find(|known| known.name == verb.get_name());
            let Verb { name, examples, .. } =
                found.unwrap_or_else(|| panic!("{} has nothing in this table", verb.get_name()));
            assert!(!examples.is_empty(), "{name}");
            for (_, line) in *examples {
                let own = line.split_once("flexvol ").map(|(_, own)| own).unwrap();
                // What a shell would make of it, as far as the examples go.
                let own = own.split(" | ").next().unwrap().split(" > ").next().unwrap();
                let args = own.split(' ').map(|word| word.trim_matches('\''));
                let parsed = command.clone().try_get_matches_from(std::iter::once("flexvol").chain(args));
                let matches = parsed.unwrap_or_else(|error| panic!("{line}: {error}"));
                assert_eq!(matches.subcommand_name(), Some(*name), "{line}");
            }
        }
    }

    #[test]
    fn readme_and_book_try_the_bridge_by_the_same_ten_lines() {
        let page = include_str!("../../../../docs/csi.md");
        let (_, lines) = page.split_once("```sh\n").unwrap();
        let (lines, _) = lines.split_once("```\n").unwrap();
        assert_eq!(lines.lines().count(), 10, "{lines}");
        assert!(include_str!("../../../../README.md").contains(lines), "README.md does not say:\n{lines}");
    }

    #[test]
    fn the_book_says_what_the_exit_codes_are() {
        let page = include_str!("../../../../docs/command.md");
        for (code, meaning) in EXIT_CODES {
            assert!(
                page.contains(&format!("| {code} | {meaning} |")),
                "docs/command.md does not say: {code} {meaning}"
            );
        }
        // What follows the table says the same, with marks around names.
        let plain = page.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(plain.contains(EXIT_CODES_REST), "docs/command.md does not say: {EXIT_CODES_REST}");
    }
}
