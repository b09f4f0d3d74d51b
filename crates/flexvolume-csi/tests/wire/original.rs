//! `proto/` against the specifications, which are fetched as Go modules: the same names, numbers and types, nothing more, and of
//! the services that we serve nothing less.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Command,
};

use flexvolume_testkit::skip;
use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, MessageDescriptor, MethodDescriptor};

use crate::{here, read};

const CSI: &str = "github.com/container-storage-interface/spec@v1.13.0";
const KUBELET: &str = "k8s.io/kubelet@v0.37.2";

/// Fetches a module; `None` with the reason printed where there is no Go.
fn fetched(module: &str) -> Option<PathBuf> {
    let nowhere = tempfile::tempdir().unwrap();
    let ran = Command::new("go").args(["mod", "download", "-json", module]).current_dir(&nowhere).output();
    let ran = match ran {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skip("there is no Go to fetch the specification with");
            return None;
        }
        ran => ran.unwrap(),
    };
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    let dir = said.lines().find_map(|line| line.trim().strip_prefix("\"Dir\": \"")?.strip_suffix("\","));
    Some(dir.unwrap_or_else(|| panic!("go names no folder: {said}")).into())
}

/// All that a file says, by full names.
fn facts(pool: &DescriptorPool, package: &str) -> BTreeMap<String, String> {
    let within = |name: &str| name.starts_with(&format!("{package}."));
    let mut facts = BTreeMap::new();
    for message in pool.all_messages().filter(|it| within(it.full_name())) {
        of_message(&message, &mut facts);
    }
    for one in pool.all_enums().filter(|it| within(it.full_name())) {
        of_enum(&one, &mut facts);
    }
    for service in pool.services() {
        for method in service.methods() {
            facts.insert(method.full_name().to_owned(), of_method(&method));
        }
    }
    facts
}

fn of_message(message: &MessageDescriptor, facts: &mut BTreeMap<String, String>) {
    facts.insert(message.full_name().to_owned(), "message".into());
    for field in message.fields() {
        facts.insert(field.full_name().to_owned(), of_field(&field));
    }
}

fn of_field(field: &FieldDescriptor) -> String {
    let one_of = field.containing_oneof().map(|it| it.name().to_owned());
    format!("{} {:?} {:?} in {one_of:?}", field.number(), field.kind(), field.cardinality())
}

fn of_enum(one: &EnumDescriptor, facts: &mut BTreeMap<String, String>) {
    for value in one.values() {
        facts.insert(format!("{}.{}", one.full_name(), value.name()), value.number().to_string());
    }
}

fn of_method(method: &MethodDescriptor) -> String {
    let streams = (method.is_client_streaming(), method.is_server_streaming());
    format!("{} to {} {streams:?}", method.input().full_name(), method.output().full_name())
}

/// What ours says is what theirs says; and what of theirs we serve is all there.
fn hold(ours: &DescriptorPool, theirs: &DescriptorPool, package: &str, whole: impl Fn(&str) -> bool) {
    let (ours, theirs) = (facts(ours, package), facts(theirs, package));
    assert!(ours.len() > 5);
    for (name, fact) in &ours {
        assert_eq!(Some(fact), theirs.get(name), "{name}");
    }
    // A message that we have, we have whole; a service that we serve, too.
    let parents: BTreeSet<&str> = ours.keys().filter_map(|name| Some(name.rsplit_once('.')?.0)).collect();
    for name in theirs.keys() {
        let parent = name.rsplit_once('.').unwrap().0;
        let wanted = parents.contains(parent) && parent != package || whole(name);
        assert!(!wanted || ours.contains_key(name), "{name} is missing");
    }
}

#[test]
fn csi_is_what_the_specification_says() {
    let Some(spec) = fetched(CSI) else { return };
    let served =
        |name: &str| ["csi.v1.Identity.", "csi.v1.Controller.", "csi.v1.Node."].iter().any(|it| name.starts_with(it));
    hold(&read(&here("proto"), "csi.proto"), &read(&spec, "csi.proto"), "csi.v1", served);
}

#[test]
fn the_registration_is_what_kubernetes_says() {
    let Some(kubelet) = fetched(KUBELET) else { return };
    let theirs = read(&kubelet.join("pkg/apis/pluginregistration/v1"), "api.proto");
    hold(&read(&here("proto"), "registration.proto"), &theirs, "pluginregistration", |_| true);
}
