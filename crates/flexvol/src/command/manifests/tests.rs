//! Every kind of driver, and what Kubernetes is told of it. That Kubernetes takes it is a case of the witness's.

use std::collections::{BTreeMap, BTreeSet};

use flexvolume_csi::capability::{AttachBy, Offer};
use flexvolume_protocol::{Capabilities, Extension};
use serde_json::Value;

use super::{
    document::Document,
    documents, objects,
    plan::{Part, Plan, Sidecar},
};
use crate::cli::{self, Command, CsiVerb};

const LOCAL: &[Extension] = &[
    Extension::Staged,
    Extension::Local,
    Extension::Stdin,
    Extension::Block,
    Extension::Provision,
    Extension::Expand,
    Extension::Snapshot,
    Extension::Clone,
    Extension::Capacity,
    Extension::List,
    Extension::Health,
    Extension::Modify,
];

const SHARED: &[Extension] = &[
    Extension::Staged,
    Extension::Stdin,
    Extension::Provision,
    Extension::Snapshot,
    Extension::Clone,
    Extension::Capacity,
    Extension::List,
];

fn plan(attach: bool, extensions: &[Extension], attach_by: AttachBy) -> Plan {
    let driver = flexvolume_protocol::DriverName::parse("example.com/box").unwrap();
    Plan {
        name: flexvolume_csi::name::CsiName::usual(&driver).unwrap(),
        driver,
        renamed: false,
        offer: Offer {
            capabilities: Capabilities { attach, ..Capabilities::default() },
            extensions: extensions.iter().copied().collect(),
            attach_by,
        },
        inline: None,
        image: "registry.example.com/flexvol:1".to_owned(),
        namespace: "kube-system".to_owned(),
        sidecars: "registry.k8s.io/sig-storage".to_owned(),
        reads_secrets: false,
        port: None,
        kubelet_dir: "/var/lib/kubelet".to_owned(),
        root: "/var/lib/flexvol".to_owned(),
        plugin_dir: "/usr/libexec/kubernetes/kubelet-plugins/volume/exec".to_owned(),
        config: "/etc/flexvol/flexvol.json".to_owned(),
    }
}

/// Direct, local with everything, shared with a controller, attached by the controller.
fn plans() -> [Plan; 4] {
    [
        plan(false, &[], AttachBy::Node),
        plan(true, LOCAL, AttachBy::Node),
        plan(false, SHARED, AttachBy::Node),
        plan(true, &[Extension::Provision], AttachBy::Controller),
    ]
}

fn kinds(documents: &[Document]) -> Vec<&str> {
    documents.iter().map(|document| document.json["kind"].as_str().unwrap()).collect()
}

fn of_kind(plan: &Plan, kind: &str) -> Option<Value> {
    documents(plan).into_iter().map(|document| document.json).find(|json| json["kind"] == kind)
}

#[test]
fn each_kind_of_driver_gets_what_it_needs_and_no_more() {
    let [direct, local, shared, attached] = plans();
    assert_eq!(kinds(&documents(&direct)), ["ServiceAccount", "CSIDriver", "DaemonSet"]);
    let rights = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
    let with = |rest: &[&'static str]| [&rights[..], rest].concat();
    let classes = ["StorageClass", "VolumeSnapshotClass"];
    assert_eq!(kinds(&documents(&local)), with(&["CSIDriver", "DaemonSet", classes[0], classes[1]]));
    assert_eq!(kinds(&documents(&shared)), with(&["CSIDriver", "DaemonSet", "Deployment", classes[0], classes[1]]));
    assert_eq!(kinds(&documents(&attached)), with(&["CSIDriver", "DaemonSet", "Deployment", classes[0]]));

    assert_eq!(direct.sidecars(), []);
    assert_eq!(local.sidecars(), [Sidecar::Provisioner, Sidecar::Snapshotter, Sidecar::Resizer]);
    assert_eq!(shared.sidecars(), [Sidecar::Provisioner, Sidecar::Snapshotter]);
    assert_eq!(attached.sidecars(), [Sidecar::Provisioner, Sidecar::Attacher]);
    assert_eq!((local.part(), shared.part(), attached.part()), (Part::Node, Part::Controller, Part::Controller));
}

#[test]
fn the_driver_object_says_what_the_driver_says() {
    let [direct, local, shared, attached] = plans();
    let spec = |plan: &Plan| of_kind(plan, "CSIDriver").unwrap()["spec"].clone();
    for (plan, attach, capacity) in
        [(&direct, false, false), (&local, false, true), (&shared, false, false), (&attached, true, false)]
    {
        let spec = spec(plan);
        assert_eq!((&spec["attachRequired"], &spec["storageCapacity"]), (&attach.into(), &capacity.into()));
        assert_eq!((&spec["podInfoOnMount"], &spec["fsGroupPolicy"]), (&true.into(), &"File".into()));
    }
    let mut nobodys = direct;
    nobodys.offer.capabilities.fs_group = false;
    assert_eq!(spec(&nobodys)["fsGroupPolicy"], "None");
    nobodys.inline = Some(vec!["size".to_owned(), "mode".to_owned()]);
    assert_eq!(spec(&nobodys)["volumeLifecycleModes"], serde_json::json!(["Persistent", "Ephemeral"]));
    assert!(nobodys.bridge_args(Part::Node).join(" ").contains("--allow-inline size,mode"));
}

#[test]
fn what_lives_on_a_node_is_made_there_and_anything_else_by_one_for_all() {
    let [direct, local, shared, attached] = plans();
    let line = |plan: &Plan, sidecar| plan.sidecar_args(sidecar).join(" ");
    let provisioner = line(&local, Sidecar::Provisioner);
    assert!(provisioner.contains("--node-deployment --strict-topology --immediate-topology=false --enable-capacity"));
    assert!(!provisioner.contains("leader"), "{provisioner}");
    assert!(line(&local, Sidecar::Resizer).contains("--leader-election "), "it works for the whole cluster");
    assert!(line(&shared, Sidecar::Provisioner).contains("--csi-address=/csi/controller.sock"));
    assert!(line(&shared, Sidecar::Provisioner).contains("--leader-election "));
    assert!(!line(&shared, Sidecar::Snapshotter).contains("--node-deployment"));

    let serve = |plan: &Plan, part| plan.bridge_args(part).join(" ");
    assert!(serve(&direct, Part::Node).contains("--serve node"));
    assert!(serve(&local, Part::Node).contains("--serve all"));
    assert!(serve(&shared, Part::Node).contains("--serve node"));
    assert!(serve(&attached, Part::Controller).contains("--serve controller --attach controller"));
    assert!(!serve(&attached, Part::Controller).contains("--register"));
    let binding = |plan: &Plan| of_kind(plan, "StorageClass").unwrap()["volumeBindingMode"].clone();
    assert_eq!((binding(&local), binding(&shared)), ("WaitForFirstConsumer".into(), "Immediate".into()));

    // The one resizer for the cluster reaches one node.
    assert!(line(&local, Sidecar::Resizer).contains("--feature-gates=VolumeAttributesClass=false"));
    let modified = plan(false, &[Extension::Modify], AttachBy::Node);
    assert_eq!((modified.part(), modified.sidecars()), (Part::Controller, vec![Sidecar::Resizer]));
    assert!(line(&modified, Sidecar::Resizer).contains("--modify-timeout=60s"));
    let here = plan(false, &[Extension::Modify, Extension::Local], AttachBy::Node);
    assert_eq!(here.sidecars(), [], "nobody who could ask the right node");

    let blind = plan(false, &[Extension::Local, Extension::Provision], AttachBy::Node);
    assert!(line(&blind, Sidecar::Provisioner).contains("--node-deployment-immediate-binding=false"));
    assert!(!line(&blind, Sidecar::Provisioner).contains("capacity"));
}

/// Group, resource and verbs of a role.
fn rights(role: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let text = |value: &Value| value[0].as_str().unwrap().to_owned();
    let verbs = |rule: &Value| -> BTreeSet<String> {
        rule["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap().to_owned()).collect()
    };
    let rules = role["rules"].as_array().unwrap();
    let rights: BTreeMap<_, _> = rules
        .iter()
        .map(|rule| (format!("{}/{}", text(&rule["apiGroups"]), text(&rule["resources"])), verbs(rule)))
        .collect();
    assert_eq!(rights.len(), rules.len(), "two rules for one resource");
    rights
}

#[test]
fn nobody_may_more_than_its_sidecars_do() {
    let [_, local, shared, mut attached] = plans();
    let of = |plan: &Plan| rights(&of_kind(plan, "ClusterRole").unwrap());
    for plan in [&local, &shared, &attached] {
        assert!(!of(plan).contains_key("/secrets") && !of(plan).contains_key("/nodes"));
    }
    assert!(
        of(&local).contains_key("/persistentvolumeclaims/status")
            && !of(&shared).contains_key("/persistentvolumeclaims/status")
    );
    let classes = "storage.k8s.io/volumeattributesclasses";
    assert_eq!(of(&local)[classes], ["get".to_owned()].into(), "read when a volume is made, and no more");
    assert!(!of(&shared).contains_key(classes));
    let [_, _, mut modified, _] = plans();
    modified.offer.extensions.insert(Extension::Modify);
    assert_eq!(of(&modified)[classes], ["get", "list", "watch"].map(str::to_owned).into());
    assert!(of(&attached)["storage.k8s.io/volumeattachments"].contains("patch"));
    assert!(!of(&attached).keys().any(|key| key.starts_with("snapshot")));
    let rooms =
        |plan: &Plan| rights(&of_kind(plan, "Role").unwrap()).contains_key("storage.k8s.io/csistoragecapacities");
    assert!(rooms(&local) && !rooms(&shared));
    attached.reads_secrets = true;
    assert_eq!(of(&attached)["/secrets"], ["get", "list"].map(str::to_owned).into());
}

#[test]
fn the_bridge_is_started_by_a_line_that_the_command_understands() {
    for plan in plans() {
        for part in [Part::Node, Part::Controller] {
            let line = std::iter::once("flexvol".to_owned()).chain(plan.bridge_args(part));
            let matches = cli::command().try_get_matches_from(line).unwrap();
            assert_eq!(matches.subcommand_name(), Some("csi"));
        }
    }
}

#[test]
fn what_is_not_usual_is_said_to_the_bridge() {
    let [_, _, mut shared, _] = plans();
    let usual = shared.bridge_args(Part::Node);
    assert_eq!(usual[0], "csi", "{usual:?}");
    shared.root = "/srv/flexvol".to_owned();
    shared.kubelet_dir = "/data/kubelet".to_owned();
    shared.port = Some(9000);
    shared.renamed = true;
    let (node, controller) = (shared.bridge_args(Part::Node).join(" "), shared.bridge_args(Part::Controller).join(" "));
    assert!(node.starts_with("--root /srv/flexvol csi"), "{node}");
    assert!(node.contains("--name example.com/box=box.example.com") && node.contains("--metrics 127.0.0.1:9000"));
    assert!(controller.contains("--endpoint unix:///data/kubelet/plugins/box.example.com/controller.sock"));
    assert!(controller.contains("--metrics 127.0.0.1:9001"));
}

#[test]
fn the_longest_name_has_sockets_that_can_be_bound_and_ports_below_those_that_are_given_away() {
    let mut longest = plan(false, SHARED, AttachBy::Node);
    longest.name = flexvolume_csi::name::CsiName::given(&longest.driver, &"n".repeat(63)).unwrap();
    for part in [Part::Node, Part::Controller] {
        let path = format!("{}/{}", longest.socket_dir(), longest.socket_name(part));
        assert!(path.len() <= 107, "{path}");
        assert!((20_000..30_000).contains(&longest.port(part)));
    }
}

#[test]
fn what_is_printed_is_read_back_as_the_same_objects() {
    for plan in plans() {
        for document in documents(&plan) {
            let back: Value = serde_saphyr::from_str(&document.text()).unwrap();
            assert_eq!(back, document.json);
            if document.json["kind"] == "VolumeSnapshotClass" {
                let class: objects::VolumeSnapshotClass = serde_saphyr::from_str(&document.text()).unwrap();
                assert_eq!(class.driver, plan.name.as_str());
            }
        }
    }
}

#[test]
fn what_is_asked_for_on_the_command_line_is_understood() {
    use clap::Parser;
    let parse = |line: &str| cli::Cli::try_parse_from(std::iter::once("flexvol").chain(line.split(' ')));
    let line =
        "csi manifests example.com/box --image i --attach controller --allow-inline a,b --secrets --metrics-port 9000";
    let Command::Csi(csi) = parse(line).unwrap().command else { panic!("{line}") };
    let Some(CsiVerb::Manifests(wanted)) = csi.instead else { panic!("{line}") };
    assert_eq!((wanted.namespace.as_str(), wanted.metrics_port, wanted.secrets), ("kube-system", Some(9000), true));
    assert!(parse("csi manifests example.com/box").is_err(), "there is no image that could be meant");
    assert!(parse("csi --driver a/b manifests a/b --image i").is_err(), "one or the other");
    assert!(parse("csi --driver a/b --mount-namespace /proc/1/ns/mnt").is_ok());
    assert!(parse("csi").is_err());
}
