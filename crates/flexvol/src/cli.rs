//! The command line.

pub(crate) mod help;

use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{
    ArgGroup, ArgMatches, Args, ColorChoice, CommandFactory, Parser, Subcommand, ValueEnum, ValueHint,
    builder::PossibleValuesParser, parser::ValueSource,
};
use flexvolume_host::settings;

use crate::{duration, schema};

/// Runs FlexVolume drivers and keeps pods' volumes true on this machine, without Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "flexvol", version, propagate_version = true, subcommand_value_name = "VERB", next_help_heading = help::GLOBAL)]
pub(crate) struct Cli {
    /// Where flexvol keeps its ledger and mounts volumes
    #[arg(long, global = true, env = "FLEXVOL_ROOT", default_value = settings::ROOT, value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// Where drivers are: <DIR>/<vendor~driver>/<driver>
    #[arg(long, global = true, env = "FLEXVOL_PLUGIN_DIR", default_value = settings::PLUGIN_DIR, value_name = "DIR")]
    pub(crate) plugin_dir: PathBuf,
    /// Settings: limits per verb and driver, and what drivers may do
    #[arg(long, global = true, env = "FLEXVOL_CONFIG", default_value = settings::CONFIG, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// How to print results
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) output: Format,
    /// Say on standard error what is done (-v: every driver call; -vv: a debug log)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// How much the log on standard error holds [default: nothing]
    #[arg(long, global = true, env = "FLEXVOL_LOG", value_enum, ignore_case = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
    /// How everything on standard error is written: for people, or a JSON object a line
    #[arg(long, global = true, env = LogFormat::ENV, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    pub(crate) color: ColorChoice,
    /// Which of these the shell said, and not the command line.
    #[arg(skip)]
    pub(crate) of_shell: OfShell,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What comes from variables of the shell: it is of this machine, and of no other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OfShell {
    pub(crate) root: bool,
    pub(crate) plugin_dir: bool,
    pub(crate) config: bool,
}

impl OfShell {
    /// As the command line was read.
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        let is = |flag: &str| matches.value_source(flag) == Some(ValueSource::EnvVariable);
        Self { root: is("root"), plugin_dir: is("plugin_dir"), config: is("config") }
    }
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    /// A table with all columns there are
    Wide,
    Json,
    Yaml,
}

/// How notes, warnings, errors and the log are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// How much the log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publish every flex volume of the pods in manifests, and print where they are
    Up {
        /// Manifest files, folders of them, or - for standard input
        #[arg(required = true, value_name = "FILE", value_hint = ValueHint::AnyPath)]
        files: Vec<String>,
        #[command(flatten)]
        jobs: Jobs,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Take the volumes of pods away again
    Down {
        /// Manifest files or folders, - for standard input, or names of pods ([NAMESPACE/]NAME, or the uid)
        #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "FILE|POD", value_hint = ValueHint::AnyPath)]
        what: Vec<String>,
        /// Every pod of this root
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        jobs: Jobs,
    },
    /// Run a command where a pod's volumes lie at their mount paths, in a mount namespace of its own
    Exec {
        /// The pod: [NAMESPACE/]NAME, or its uid
        pod: String,
        /// The container whose mount paths count [default: the first that mounts a volume]
        #[arg(short, long, value_name = "NAME")]
        container: Option<String>,
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "CMD", value_hint = ValueHint::CommandName)]
        argv: Vec<OsString>,
    },
    /// List volumes: who uses them, where they are, what went wrong
    Ls {
        /// Ask each file system how full it is, where its driver allows that
        #[arg(long)]
        usage: bool,
    },
    /// Show all that is known of one volume: what is wanted, what is so, what is under way, what was tried
    Inspect {
        /// The volume: its key or name as ls shows them, or [NAMESPACE/]POD/VOLUME
        volume: String,
    },
    /// List the drivers in the plugin directory and what each says it can do
    Drivers {
        /// Go on, and tell of each driver that comes, changes or goes
        #[arg(short, long)]
        watch: bool,
    },
    /// Find out what keeps drivers and volumes from working here, and how to mend it; changes nothing
    Doctor {
        /// Only these drivers [default: everything]
        #[arg(value_name = "DRIVER")]
        drivers: Vec<String>,
    },
    /// Put a driver into the plugin directory, or a newer one in its stead
    Install {
        /// The executable
        driver: PathBuf,
        /// Its name for volumes [default: the name of the file]
        #[arg(long = "as", value_name = "VENDOR/NAME")]
        name: Option<String>,
    },
    /// Call a driver by hand and show all there is to see: argv, both streams, both verdicts, time
    Call {
        /// The driver's name
        driver: String,
        /// The verb, such as init or mount
        verb: String,
        /// Its arguments, as the contract has them
        #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
        args: Vec<String>,
    },
    /// Judge a driver by the contract: whether it is fit for the hosts there are, why not, and what mends it
    Check(Box<Check>),
    /// Serve drivers to Kubernetes or Nomad as CSI drivers, each at a socket of its own, until ended
    Csi(Box<Csi>),
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page, or write all of them
    Man {
        /// The verb whose page to print [default: the page of flexvol itself]
        #[arg(conflicts_with = "to")]
        verb: Option<String>,
        /// Write every page into this folder, such as /usr/local/share/man/man1
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        to: Option<PathBuf>,
    },
    /// Print the JSON Schema of what a verb prints with -o json, or of the lines of --log-format json
    Schema {
        /// The verb, or log
        #[arg(value_parser = PossibleValuesParser::new(schema::names()))]
        name: String,
    },
}

impl LogFormat {
    /// The variable that sets it, also where the command line cannot be read.
    pub(crate) const ENV: &str = "FLEXVOL_LOG_FORMAT";
}

/// Which driver is judged, by which volume, and how far that may go.
#[derive(Clone, Debug, Args)]
pub(crate) struct Check {
    /// The executable, or the name of a driver in the plugin directory
    #[arg(value_hint = ValueHint::FilePath, required_unless_present = "list")]
    pub(crate) driver: Option<String>,
    /// The volume to judge it by, as JSON: the options alone, or an object with options, fsType, readOnly, name, node, second, secrets, create, bytes
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) options: Option<PathBuf>,
    /// Who has to be content with it [default: kubernetes; with --list both]
    #[arg(long)]
    pub(crate) level: Option<CheckLevel>,
    /// What the volume holds may be lost: calls are killed in their middle
    #[arg(long)]
    pub(crate) destroy: bool,
    /// Only checks whose names begin so; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// No checks whose names begin so; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) skip: Vec<String>,
    /// Name the checks that would be made, what they demand and why, and judge nothing
    #[arg(long)]
    pub(crate) list: bool,
    /// The longest a call of the driver may take; then it is ended, unless that may cost what the volume holds
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = call_time)]
    pub(crate) timeout: Duration,
    /// Write a report that build servers read, too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) junit: Option<PathBuf>,
    /// Where the folders are made that a host would have; a path of two components, since drivers count them
    #[arg(long, value_name = "DIR", default_value = "/var/lib", value_hint = ValueHint::DirPath)]
    pub(crate) scratch: PathBuf,
}

/// No call ends within no time.
fn call_time(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|why| match text.trim().trim_start_matches('0') {
        "" | "s" | "m" | "h" | "ms" => "no call ends within no time; ten minutes (10m) are usual".to_owned(),
        _ => why,
    })
}

/// Who has to be content with a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckLevel {
    /// Kubernetes: the contract alone
    Kubernetes,
    /// flexvol: the extensions that the driver announces as well
    Flexvol,
}

/// What is served to CSI clients, and how.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(group(ArgGroup::new("served").args(["drivers", "all"]).required(true)))]
pub(crate) struct Csi {
    #[command(subcommand)]
    pub(crate) instead: Option<CsiVerb>,
    /// The driver; may be given several times
    #[arg(long = "driver", value_name = "NAME")]
    pub(crate) drivers: Vec<String>,
    /// Every driver in the plugin directory, as they come and go
    #[arg(long)]
    pub(crate) all: bool,
    /// The socket, where there is one driver [default: <kubelet-dir>/plugins/<CSI name>/csi.sock]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, conflicts_with = "all")]
    pub(crate) endpoint: Option<String>,
    /// The same socket as the kubelet sees it, where that is another path
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, requires = "endpoint")]
    pub(crate) registered_endpoint: Option<String>,
    /// The folder that paths of clients are beneath
    #[arg(long, default_value = "/var/lib/kubelet", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) kubelet_dir: PathBuf,
    /// Which services are served beside Identity
    #[arg(long, value_enum, default_value_t = Serve::All, value_name = "PART")]
    pub(crate) serve: Serve,
    /// Who calls attach and detach: the node when it stages, or the controller for a node
    #[arg(long, value_enum, default_value_t = Attach::Node, value_name = "WHO")]
    pub(crate) attach: Attach,
    /// What a driver is called in CSI [default: lvm.example.com for example.com/lvm]
    #[arg(long = "name", value_name = "DRIVER=NAME")]
    pub(crate) names: Vec<String>,
    /// Let pods write down volumes themselves, with options of these names
    #[arg(long, value_name = "OPTION", value_delimiter = ',')]
    pub(crate) allow_inline: Option<Vec<String>>,
    /// Register each driver with the kubelet [default: where <kubelet-dir>/plugins_registry is there]
    #[arg(long, overrides_with = "no_register")]
    register: bool,
    /// Leave that to somebody else
    #[arg(long, overrides_with = "register")]
    no_register: bool,
    /// Tell metrics at this address under /metrics, and under /healthz that it answers [a port alone: on 127.0.0.1]
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = address)]
    pub(crate) metrics: Option<SocketAddr>,
    /// Work in another mount namespace: in a container with the host's pids, /proc/1/ns/mnt is the host's
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) mount_namespace: Option<PathBuf>,
}

impl Csi {
    /// Whether to register, if that was said.
    pub(crate) fn registers(&self) -> Option<bool> {
        (self.register || self.no_register).then_some(self.register)
    }
}

/// An address to listen at: this machine's own if only a port is given.
fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text).parse().map(|port| (Ipv4Addr::LOCALHOST, port).into());
    let wrong = || "write a port, such as 9808, or an address with one, such as 0.0.0.0:9808".to_owned();
    port.or_else(|_| text.parse()).map_err(|_: std::net::AddrParseError| wrong())
}

/// What else there is to do with CSI.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum CsiVerb {
    /// Print what Kubernetes needs to have a driver served on its nodes, as YAML for kubectl apply
    Manifests(Box<Manifests>),
}

/// How a driver is to be installed on Kubernetes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Manifests {
    /// The driver
    pub(crate) driver: String,
    /// The image that holds the flexvol command
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: String,
    /// The namespace of pods, account and role
    #[arg(long, default_value = "kube-system", value_name = "NAME")]
    pub(crate) namespace: String,
    /// Where Kubernetes' sidecars are pulled from
    #[arg(long, default_value = "registry.k8s.io/sig-storage", value_name = "PREFIX")]
    pub(crate) sidecars: String,
    /// What the driver is called in CSI [default: lvm.example.com for example.com/lvm]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The kubelet's folder on the nodes
    #[arg(long, default_value = "/var/lib/kubelet", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) kubelet_dir: PathBuf,
    /// Who calls attach and detach: the node when it stages, or the controller for a node
    #[arg(long, value_enum, default_value_t = Attach::Node, value_name = "WHO")]
    pub(crate) attach: Attach,
    /// Let pods write down volumes themselves, with options of these names
    #[arg(long, value_name = "OPTION", value_delimiter = ',')]
    pub(crate) allow_inline: Option<Vec<String>>,
    /// Let sidecars read Secrets, which classes can name
    #[arg(long)]
    pub(crate) secrets: bool,
    /// The port on 127.0.0.1 where a node's bridge tells its health; the controller's takes the next [default: made of the name]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..65535))]
    pub(crate) metrics_port: Option<u16>,
}

/// Which services are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Serve {
    All,
    Controller,
    Node,
}

/// Who attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attach {
    Node,
    Controller,
}

/// How much is done at once.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Jobs {
    /// How many volumes of each driver to work on at once; drivers do not wait for each other
    #[arg(long = "jobs", default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) of_driver: u8,
}

/// What becomes of a volume that fails.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Waiting {
    /// Try again what failed, after half a second and then ever more rarely, until all is up
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Try each volume once; this is the default
    #[arg(long, overrides_with_all = ["wait", "timeout"])]
    no_wait: bool,
    /// Wait no longer than this, such as 90s, 5m or plain seconds; implies --wait
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, overrides_with = "no_wait")]
    timeout: Option<Duration>,
}

impl Waiting {
    /// Whether to try again, and for how long.
    pub(crate) fn until(&self) -> Option<Option<Duration>> {
        (self.wait || self.timeout.is_some()).then_some(self.timeout)
    }
}

/// The whole command line, with what its help says beyond the flags.
pub(crate) fn command() -> clap::Command {
    help::VERBS.iter().fold(Cli::command().after_help(help::exit_codes()), |command, about| {
        command.mut_subcommand(about.name, |verb| {
            let short = verb.get_about().map(ToString::to_string).unwrap_or_default();
            let long = format!("{short}.\n\n{}", about.more);
            verb.long_about(long).after_long_help(help::examples(about.examples))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn metrics_are_for_this_machine_unless_somebody_says_otherwise() {
        for (text, wanted) in [
            ("9808", Some("127.0.0.1:9808")),
            (":9808", Some("127.0.0.1:9808")),
            ("0.0.0.0:9808", Some("0.0.0.0:9808")),
            ("[::1]:9808", Some("[::1]:9808")),
            ("localhost:9808", None),
            ("70000", None),
            ("", None),
        ] {
            assert_eq!(address(text).ok().map(|address| address.to_string()).as_deref(), wanted, "{text}");
        }
    }

    #[test]
    fn the_last_word_on_registering_counts() {
        for (flags, wanted) in [
            ("", None),
            ("--register", Some(true)),
            ("--no-register", Some(false)),
            ("--register --no-register", Some(false)),
            ("--no-register --register", Some(true)),
        ] {
            let line = format!("flexvol csi --all {flags}");
            let Command::Csi(csi) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
                panic!("{line}");
            };
            assert_eq!(csi.registers(), wanted, "{line}");
        }
    }

    #[test]
    fn the_last_word_on_waiting_counts() {
        let minute = Some(Some(Duration::from_secs(60)));
        for (flags, until) in [
            ("", None),
            ("--no-wait", None),
            ("--wait", Some(None)),
            ("--timeout 1m", minute),
            ("--timeout 1m --wait", minute),
            ("--wait --no-wait", None),
            ("--no-wait --wait", Some(None)),
            ("--wait --timeout 1m --no-wait", None),
            ("--no-wait --timeout 60", minute),
        ] {
            let argv = ["flexvol", "up", "pod.yaml"].into_iter().chain(flags.split_whitespace());
            let Command::Up { waiting, .. } = Cli::try_parse_from(argv).unwrap().command else { panic!("{flags}") };
            assert_eq!(waiting.until(), until, "{flags}");
        }
        assert!(Cli::try_parse_from(["flexvol", "up", "pod.yaml", "--timeout", "soon"]).is_err());
    }
}
