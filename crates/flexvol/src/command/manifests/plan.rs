//! What a driver's abilities mean for Kubernetes: which sidecars, where they run, how they are started.

use std::collections::BTreeMap;

use flexvolume_csi::{capability::Offer, name::CsiName};
use flexvolume_host::settings;
use flexvolume_protocol::{DriverName, Extension};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest, Sha256};

/// Where the kubelet is, if nobody says otherwise.
const KUBELET_DIR: &str = "/var/lib/kubelet";

/// One driver and how it is to be installed.
pub(super) struct Plan {
    pub(super) driver: DriverName,
    pub(super) name: CsiName,
    /// The CSI name is not the usual one.
    pub(super) renamed: bool,
    pub(super) offer: Offer,
    /// Pods may write down volumes themselves, with these options.
    pub(super) inline: Option<Vec<String>>,
    pub(super) image: String,
    pub(super) namespace: String,
    /// Where sidecars come from.
    pub(super) sidecars: String,
    /// Sidecars may read Secrets.
    pub(super) reads_secrets: bool,
    /// Where the node's part tells its health; the controller's part takes the next one.
    pub(super) port: Option<u16>,
    pub(super) kubelet_dir: String,
    pub(super) root: String,
    pub(super) plugin_dir: String,
    pub(super) config: String,
}

/// A helper of Kubernetes' own that calls a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sidecar {
    Provisioner,
    Snapshotter,
    Resizer,
    Attacher,
}

/// Who runs a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Each node, for what lives there.
    Node,
    /// One pod for all nodes.
    Controller,
}

impl Sidecar {
    /// Its image, in the version whose flags and rights these manifests are made of.
    pub(super) const fn image(self) -> &'static str {
        match self {
            Self::Provisioner => "csi-provisioner:v6.4.0",
            Self::Snapshotter => "csi-snapshotter:v8.7.0",
            Self::Resizer => "csi-resizer:v2.3.0",
            Self::Attacher => "csi-attacher:v4.13.0",
        }
    }

    /// The name of its container.
    pub(super) fn container(self) -> &'static str {
        self.image().split(':').next().unwrap_or_default()
    }
}

impl Plan {
    pub(super) fn has(&self, extension: Extension) -> bool {
        self.offer.extensions.contains(&extension)
    }

    /// The driver's volumes live on one node each.
    pub(super) fn is_local(&self) -> bool {
        self.has(Extension::Local)
    }

    /// Volumes can be changed by whoever finds out that they shall be: one for all, who reaches them all. What lives on one node has
    /// what it was made with: the one resizer that there is would ask its own node for it, which may know another volume by that id.
    pub(super) fn modifies(&self) -> bool {
        self.has(Extension::Modify) && !self.is_local()
    }

    /// The scheduler is told how much room each node has.
    pub(super) fn tells_capacity(&self) -> bool {
        self.is_local() && self.has(Extension::Capacity) && self.has(Extension::Provision)
    }

    /// The sidecars that the driver has work for. Kubernetes makes a volume larger only where there is a resizer, also if
    /// the node alone has to do anything.
    pub(super) fn sidecars(&self) -> Vec<Sidecar> {
        let wanted = [
            (Sidecar::Provisioner, self.has(Extension::Provision)),
            (Sidecar::Snapshotter, self.has(Extension::Snapshot)),
            (Sidecar::Resizer, self.offer.expands() || self.modifies()),
            (Sidecar::Attacher, self.offer.attaches_by_controller()),
        ];
        wanted.into_iter().filter_map(|(sidecar, is_wanted)| is_wanted.then_some(sidecar)).collect()
    }

    /// Where they run. What lives on one node is made there; the rest is made by one for all.
    pub(super) fn part(&self) -> Part {
        if self.is_local() { Part::Node } else { Part::Controller }
    }

    /// The sidecars of one part.
    pub(super) fn sidecars_of(&self, part: Part) -> Vec<Sidecar> {
        if part == self.part() { self.sidecars() } else { Vec::new() }
    }

    /// Several of these run, and one of them leads.
    pub(super) fn elects(&self, sidecar: Sidecar) -> bool {
        match (self.part(), sidecar) {
            // Each of these looks after its own node.
            (Part::Node, Sidecar::Provisioner | Sidecar::Snapshotter) => false,
            (Part::Node, Sidecar::Resizer | Sidecar::Attacher) | (Part::Controller, _) => true,
        }
    }

    /// How a sidecar is started. A call may take a minute. What takes longer in the bridge goes on there, and the same
    /// call again joins it.
    pub(super) fn sidecar_args(&self, sidecar: Sidecar) -> Vec<String> {
        let mut args = vec![format!("--csi-address=/csi/{}", self.socket_name(self.part()))];
        args.push(match sidecar {
            Sidecar::Provisioner | Sidecar::Snapshotter | Sidecar::Attacher => "--timeout=60s".to_owned(),
            Sidecar::Resizer => "--resize-timeout=60s".to_owned(),
        });
        if self.elects(sidecar) {
            args.push("--leader-election".to_owned());
            args.push(format!("--leader-election-namespace={}", self.namespace));
        }
        let more: &[&str] = match (self.part(), sidecar) {
            (Part::Node, Sidecar::Provisioner) if self.tells_capacity() => &[
                "--node-deployment",
                "--strict-topology",
                "--immediate-topology=false",
                "--enable-capacity",
                "--capacity-ownerref-level=1",
            ],
            // Which node has room for a claim that is bound at once it could not find out.
            (Part::Node, Sidecar::Provisioner) => &[
                "--node-deployment",
                "--node-deployment-immediate-binding=false",
                "--strict-topology",
                "--immediate-topology=false",
            ],
            (Part::Node, Sidecar::Snapshotter) => &["--node-deployment"],
            // A volume in use can be made larger, so nobody needs to watch pods.
            (Part::Controller, Sidecar::Resizer) if self.modifies() => {
                &["--handle-volume-inuse-error=false", "--modify-timeout=60s"]
            }
            (Part::Node, Sidecar::Resizer) if self.has(Extension::Modify) => {
                &["--handle-volume-inuse-error=false", "--feature-gates=VolumeAttributesClass=false"]
            }
            (_, Sidecar::Resizer) => &["--handle-volume-inuse-error=false"],
            (Part::Controller, Sidecar::Provisioner | Sidecar::Snapshotter) | (_, Sidecar::Attacher) => &[],
        };
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        args
    }

    /// How the bridge itself is started in one part.
    pub(super) fn bridge_args(&self, part: Part) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let mut add = |flag: &str, value: &str| args.extend([flag.to_owned(), value.to_owned()]);
        for (flag, value, usual) in [
            ("--root", &self.root, settings::ROOT),
            ("--plugin-dir", &self.plugin_dir, settings::PLUGIN_DIR),
            ("--config", &self.config, settings::CONFIG),
        ] {
            if value != usual {
                add(flag, value);
            }
        }
        args.push("csi".to_owned());
        let mut add = |flag: &str, value: &str| args.extend([flag.to_owned(), value.to_owned()]);
        add("--driver", self.driver.as_str());
        if self.renamed {
            add("--name", &format!("{}={}", self.driver, self.name));
        }
        let serves_all = self.is_local() && !self.offer.controller().is_empty();
        add(
            "--serve",
            match part {
                Part::Node if serves_all => "all",
                Part::Node => "node",
                Part::Controller => "controller",
            },
        );
        if self.offer.attaches_by_controller() {
            add("--attach", "controller");
        }
        if let (Some(options), Part::Node) = (&self.inline, part) {
            add("--allow-inline", &options.join(","));
        }
        if self.kubelet_dir != KUBELET_DIR {
            add("--kubelet-dir", &self.kubelet_dir);
        }
        if part == Part::Controller {
            add("--endpoint", &format!("unix://{}/{}", self.socket_dir(), self.socket_name(part)));
        }
        add("--mount-namespace", "/proc/1/ns/mnt");
        add("--metrics", &format!("127.0.0.1:{}", self.port(part)));
        if part == Part::Node {
            args.push("--register".to_owned());
        }
        args
    }

    /// The folder that both sockets are in, on the node.
    pub(super) fn socket_dir(&self) -> String {
        format!("{}/plugins/{}", self.kubelet_dir.trim_end_matches('/'), self.name)
    }

    /// Every socket there will be on a node, the kubelet's among them.
    pub(super) fn sockets(&self) -> [String; 3] {
        let registry = format!("{}/plugins_registry", self.kubelet_dir.trim_end_matches('/'));
        let own = |part| format!("{}/{}", self.socket_dir(), self.socket_name(part));
        [own(Part::Node), own(Part::Controller), format!("{registry}/{}-reg.sock", self.name)]
    }

    /// The socket of one part. Both parts may be on one node.
    pub(super) fn socket_name(&self, part: Part) -> &'static str {
        match part {
            Part::Node => "csi.sock",
            Part::Controller => "controller.sock",
        }
    }

    /// Where one part tells its health. All pods of all drivers share the node's ports, so each driver has two of its own,
    /// made of its name, beneath those that Kubernetes and the kernel give away (30000 and above).
    pub(super) fn port(&self, part: Part) -> u16 {
        const FIRST: u16 = 20_000;
        const PAIRS: u16 = 5_000;
        let first = self.port.unwrap_or_else(|| {
            let digest = Sha256::digest(self.name.as_str());
            FIRST + u16::from_be_bytes([digest[0], digest[1]]) % PAIRS * 2
        });
        match part {
            Part::Node => first,
            Part::Controller => first.saturating_add(1),
        }
    }

    /// Labels of all that belongs to the driver, and of one part.
    pub(super) fn labels(&self, part: Option<Part>) -> BTreeMap<String, String> {
        let component = part.map(|part| match part {
            Part::Node => "node",
            Part::Controller => "controller",
        });
        let component = component.map(|component| ("app.kubernetes.io/component".to_owned(), component.to_owned()));
        [
            ("app.kubernetes.io/name".to_owned(), "flexvol".to_owned()),
            ("app.kubernetes.io/instance".to_owned(), self.name.to_string()),
        ]
        .into_iter()
        .chain(component)
        .collect()
    }

    /// Of an object of the cluster's.
    pub(super) fn of_cluster(&self, name: String) -> ObjectMeta {
        ObjectMeta { name: Some(name), labels: Some(self.labels(None)), ..ObjectMeta::default() }
    }

    /// Of an object of the namespace's. All of them have the driver's name, in one namespace for each kind.
    pub(super) fn of_namespace(&self) -> ObjectMeta {
        ObjectMeta { namespace: Some(self.namespace.clone()), ..self.of_cluster(self.name.to_string()) }
    }
}
