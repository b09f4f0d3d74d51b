//! What the sidecars may do in the cluster: what each one that is there needs, and no more. The bridge itself talks to nobody but the
//! kubelet.

use k8s_openapi::api::{
    core::v1::ServiceAccount,
    rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject},
};

use super::{
    document::Document,
    plan::{Plan, Sidecar},
};
use flexvolume_protocol::Extension;

const RBAC: &str = "rbac.authorization.k8s.io";
const STORAGE: &str = "storage.k8s.io";
const SNAPSHOT: &str = "snapshot.storage.k8s.io";

const READ: &[&str] = &["get", "list", "watch"];

/// The account, and its rights where a sidecar needs any.
pub(super) fn documents(plan: &Plan) -> Vec<Document> {
    let account = ServiceAccount { metadata: plan.of_namespace(), ..ServiceAccount::default() };
    let mut documents = vec![Document::new(&account, &[])];
    let subjects = || {
        let (name, namespace) = (plan.name.to_string(), Some(plan.namespace.clone()));
        Some(vec![Subject { kind: "ServiceAccount".to_owned(), name, namespace, api_group: None }])
    };
    let role_ref = |kind: &str, name: String| RoleRef { api_group: RBAC.to_owned(), kind: kind.to_owned(), name };

    let rules = of_cluster(plan);
    if !rules.is_empty() {
        let name = format!("flexvol:{}", plan.name);
        let metadata = plan.of_cluster(name.clone());
        let role = ClusterRole { metadata: metadata.clone(), rules: Some(rules), aggregation_rule: None };
        let binding = ClusterRoleBinding { metadata, role_ref: role_ref("ClusterRole", name), subjects: subjects() };
        let without = ["Sidecars read no Secrets. If a class names some for them, print this again with --secrets."];
        documents.push(Document::new(&role, if plan.reads_secrets { &[] } else { &without }));
        documents.push(Document::new(&binding, &[]));
    }
    let rules = of_namespace(plan);
    if !rules.is_empty() {
        let metadata = plan.of_namespace();
        let role = Role { metadata: metadata.clone(), rules: Some(rules) };
        let binding = RoleBinding { metadata, role_ref: role_ref("Role", plan.name.to_string()), subjects: subjects() };
        documents.push(Document::new(&role, &[]));
        documents.push(Document::new(&binding, &[]));
    }
    documents
}

fn rule(group: &str, resource: &str, verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    }
}

/// The rules of several sidecars as one for each resource.
fn joined(rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut joined: Vec<PolicyRule> = Vec::new();
    for rule in rules {
        let same = |other: &&mut PolicyRule| other.api_groups == rule.api_groups && other.resources == rule.resources;
        match joined.iter_mut().find(same) {
            Some(other) => {
                let more: Vec<_> = rule.verbs.into_iter().filter(|verb| !other.verbs.contains(verb)).collect();
                other.verbs.extend(more);
            }
            None => joined.push(rule),
        }
    }
    joined
}

/// What a sidecar does to objects of the cluster. In the sidecars' own lists stand more: nodes and csinodes, which a provisioner reads
/// where a driver has a topology and does not run on each node; events, which none of them reads; groups of snapshots.
fn of_cluster(plan: &Plan) -> Vec<PolicyRule> {
    let mut rules = Vec::new();
    for sidecar in plan.sidecars() {
        match sidecar {
            Sidecar::Provisioner => {
                rules.push(rule("", "persistentvolumes", &["get", "list", "watch", "create", "patch", "delete"]));
                rules.push(rule("", "persistentvolumeclaims", &["get", "list", "watch", "update"]));
                rules.push(rule(STORAGE, "storageclasses", READ));
                if plan.has(Extension::Snapshot) {
                    rules.push(rule(SNAPSHOT, "volumesnapshots", &["get", "list", "watch", "update"]));
                    rules.push(rule(SNAPSHOT, "volumesnapshotcontents", &["get", "list"]));
                }
                if plan.offer.attaches_by_controller() {
                    rules.push(rule(STORAGE, "volumeattachments", READ));
                }
                // It is not in the provisioner's own list, and what a claim's class says it reads all the same.
                if plan.has(Extension::Modify) {
                    rules.push(rule(STORAGE, "volumeattributesclasses", &["get"]));
                }
            }
            Sidecar::Snapshotter => {
                rules.push(rule(SNAPSHOT, "volumesnapshotclasses", READ));
                rules.push(rule(SNAPSHOT, "volumesnapshotcontents", &["get", "list", "watch", "update", "patch"]));
                rules.push(rule(SNAPSHOT, "volumesnapshotcontents/status", &["update", "patch"]));
            }
            Sidecar::Resizer => {
                rules.push(rule("", "persistentvolumes", &["get", "list", "watch", "patch"]));
                rules.push(rule("", "persistentvolumeclaims", READ));
                rules.push(rule("", "persistentvolumeclaims/status", &["patch"]));
                if plan.modifies() {
                    rules.push(rule(STORAGE, "volumeattributesclasses", READ));
                }
            }
            Sidecar::Attacher => {
                rules.push(rule("", "persistentvolumes", &["get", "list", "watch", "patch"]));
                rules.push(rule(STORAGE, "csinodes", READ));
                rules.push(rule(STORAGE, "volumeattachments", &["get", "list", "watch", "patch"]));
                rules.push(rule(STORAGE, "volumeattachments/status", &["patch"]));
            }
        }
        if sidecar != Sidecar::Attacher {
            rules.push(rule("", "events", &["create", "update", "patch"]));
        }
        if plan.reads_secrets {
            rules.push(rule("", "secrets", &["get", "list"]));
        }
    }
    joined(rules)
}

/// What they do in their own namespace: choose a leader, and tell how much room there is.
fn of_namespace(plan: &Plan) -> Vec<PolicyRule> {
    let mut rules = Vec::new();
    if plan.sidecars().into_iter().any(|sidecar| plan.elects(sidecar)) {
        let verbs = ["get", "list", "watch", "create", "update", "delete"];
        rules.push(rule("coordination.k8s.io", "leases", &verbs));
    }
    if plan.tells_capacity() {
        let verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];
        rules.push(rule(STORAGE, "csistoragecapacities", &verbs));
        // The DaemonSet, which they belong to, is found from the sidecar's own pod.
        rules.push(rule("", "pods", &["get"]));
    }
    rules
}
