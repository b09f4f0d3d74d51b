//! Which flags of `flexvol csi` and `flexvol csi manifests` make sense, by themselves, together, and for a driver.

use std::{collections::BTreeSet, path::Path};

use flexvolume_csi::{
    capability::{AttachBy, Offer},
    context,
};
use flexvolume_protocol::{DriverName, Extension};

use super::ground::Done;
use crate::{
    cli::{Attach, Csi, Manifests, Serve},
    problem::Problems,
};

/// The longest path that a socket's address holds.
const SOCKET: usize = 107;

/// Why something makes no sense, and what to do.
pub(super) type Unfit = (String, &'static str);

pub(super) fn refused((what, hint): Unfit) -> Problems {
    Problems::usage(what, hint)
}

pub(super) fn attach_by(wanted: Attach) -> AttachBy {
    match wanted {
        Attach::Node => AttachBy::Node,
        Attach::Controller => AttachBy::Controller,
    }
}

/// The options that pods may write down themselves.
pub(super) fn inline(keys: &[String]) -> Done<BTreeSet<String>> {
    for key in keys {
        if key.trim().is_empty() {
            let hint = "name at least one option, such as --allow-inline size,medium";
            return Err(Problems::usage("--allow-inline names an option without a name", hint));
        }
        if context::is_the_hosts(key) {
            let hint = "leave it away: no pod may write it, whoever allows it";
            return Err(Problems::usage(format!("--allow-inline names {key}, which is the host's own to write"), hint));
        }
    }
    Ok(keys.iter().cloned().collect())
}

/// What `flexvol csi` is asked, before any driver is looked at.
pub(super) fn served(wanted: &Csi) -> Result<(), Unfit> {
    let controller_alone = wanted.serve == Serve::Controller;
    let node = "leave it away, or serve the node's part as well";
    if controller_alone && wanted.registers() == Some(true) {
        let hint = "leave it away: the kubelet has no use for a controller's part";
        return Err(("--register is for the node's part, which is not served".to_owned(), hint));
    }
    if controller_alone && wanted.allow_inline.is_some() {
        return Err(("--allow-inline is for the node's part, which is not served".to_owned(), node));
    }
    if wanted.registered_endpoint.is_some() {
        if controller_alone {
            return Err(("--registered-endpoint is for the node's part, which is not served".to_owned(), node));
        }
        if wanted.registers() == Some(false) {
            let what = "--registered-endpoint is what the kubelet is told, and with --no-register it is told nothing";
            return Err((what.to_owned(), "leave one of them away"));
        }
    }
    Ok(())
}

/// What a driver that has answered `init` is asked to do.
pub(super) fn attaching(driver: &DriverName, offer: &Offer) -> Result<(), Unfit> {
    if offer.attach_by == AttachBy::Node || offer.attaches_by_controller() {
        return Ok(());
    }
    let why = match offer.extensions.contains(&Extension::Local) {
        true => "has volumes that live on one node (local), where they are attached",
        false => "attaches nothing (attach: false, and not staged)",
    };
    Err((format!("--attach=controller makes no sense for driver {driver}, which {why}"), "leave it away"))
}

/// The same, where its controller's part is served alone.
pub(super) fn controlling(driver: &DriverName, offer: &Offer) -> Result<(), Unfit> {
    if !offer.controller().is_empty() {
        return Ok(());
    }
    let what = format!("driver {driver} announces nothing that a controller could do");
    Err((what, "serve the node's part: --serve node"))
}

/// What `flexvol csi manifests` is asked, as far as it can be told without the driver.
pub(super) fn printed(wanted: &Manifests) -> Result<(), Unfit> {
    let is_word = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
    if !is_word(&wanted.image) {
        return Err((
            format!("--image {:?} is no image", wanted.image),
            "give one such as registry.example.com/flexvol:1",
        ));
    }
    if !is_word(wanted.sidecars.trim_end_matches('/')) {
        let hint = "give what comes before their names, such as registry.k8s.io/sig-storage";
        return Err((format!("--sidecars {:?} is no place for images", wanted.sidecars), hint));
    }
    if !is_label(&wanted.namespace) {
        let what = format!("--namespace {:?} is no name of a namespace", wanted.namespace);
        return Err((what, "give up to 63 letters a-z, digits and dashes, such as kube-system"));
    }
    Ok(())
}

/// What Kubernetes calls a label: namespaces are called so.
fn is_label(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [text.bytes().next(), text.bytes().next_back()];
    text.len() <= 63
        && ends.into_iter().all(|end| end.is_some_and(is_plain))
        && text.bytes().all(|byte| is_plain(byte) || byte == b'-')
}

/// Sockets that could not be bound on the nodes.
pub(super) fn sockets<'a>(sockets: impl IntoIterator<Item = &'a Path>) -> Result<(), Unfit> {
    match sockets.into_iter().find(|socket| socket.as_os_str().len() > SOCKET) {
        Some(socket) => {
            let what = format!("the socket {} would have more than {SOCKET} bytes", socket.display());
            Err((what, "give a shorter --kubelet-dir or --name"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use flexvolume_protocol::Capabilities;

    use super::*;
    use crate::cli::{Cli, Command, CsiVerb};

    fn csi(line: &str) -> Csi {
        let line = ["flexvol", "csi"].into_iter().chain(line.split_whitespace());
        let Command::Csi(csi) = Cli::try_parse_from(line).unwrap().command else { panic!("another verb") };
        *csi
    }

    #[test]
    fn flags_that_make_no_sense_together_are_refused_in_words() {
        for (line, words) in [
            ("--all", ""),
            ("--all --serve controller", ""),
            ("--all --serve controller --no-register --mount-namespace /proc/1/ns/mnt", ""),
            ("--all --serve node --register --allow-inline size", ""),
            ("--driver a/b --endpoint /x --registered-endpoint /y", ""),
            ("--all --serve controller --register", "--register is for the node's part"),
            ("--all --serve controller --allow-inline size", "--allow-inline is for the node's part"),
            ("--driver a/b --endpoint /x --registered-endpoint /y --serve controller", "for the node's part"),
            ("--driver a/b --endpoint /x --registered-endpoint /y --no-register", "it is told nothing"),
        ] {
            match served(&csi(line)) {
                Ok(()) => assert_eq!(words, "", "{line} is taken"),
                Err((what, _)) => assert!(!words.is_empty() && what.contains(words), "{line}: {what}"),
            }
        }
    }

    #[test]
    fn what_pods_may_write_down_has_a_name_and_is_not_the_hosts() {
        let allowed = |keys: &str| inline(&keys.split(',').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(allowed("size,medium,size").unwrap().len(), 2);
        for keys in
            ["", "size,", "size,,x", "flexvol/id", "FlexVol/ID", "kubernetes.io/fsType", "size,csi.storage.k8s.io/x"]
        {
            assert!(allowed(keys).is_err(), "{keys:?}");
        }
    }

    #[test]
    fn a_driver_is_not_asked_for_what_it_cannot_do() {
        let driver = DriverName::parse("a/b").unwrap();
        let offer = |attach, extensions: &[Extension], attach_by| Offer {
            capabilities: Capabilities { attach, ..Capabilities::default() },
            extensions: extensions.iter().copied().collect(),
            attach_by,
        };
        for (attach, extensions, words) in [
            (true, &[][..], ""),
            (false, &[Extension::Staged], ""),
            (false, &[], "attaches nothing"),
            (true, &[Extension::Local], "live on one node"),
        ] {
            let told = attaching(&driver, &offer(attach, extensions, AttachBy::Controller));
            assert_eq!(told.is_err(), !words.is_empty(), "{extensions:?}");
            assert!(told.err().is_none_or(|(what, _)| what.contains(words)));
            assert_eq!(attaching(&driver, &offer(attach, extensions, AttachBy::Node)), Ok(()));
        }
        assert!(controlling(&driver, &offer(true, &[], AttachBy::Node)).is_err());
        assert!(controlling(&driver, &offer(true, &[], AttachBy::Controller)).is_ok());
        assert!(controlling(&driver, &offer(false, &[Extension::Provision], AttachBy::Node)).is_ok());
    }

    #[test]
    fn manifests_that_nobody_could_apply_are_not_printed() {
        let wanted =
            |flags: &[&str]| match csi(&[&["manifests", "a/b", "--image", "i"], flags].concat().join(" ")).instead {
                Some(CsiVerb::Manifests(wanted)) => *wanted,
                None => panic!("{flags:?}"),
            };
        assert_eq!(printed(&wanted(&[])), Ok(()));
        assert_eq!(printed(&wanted(&["--sidecars", "registry.example.com/"])), Ok(()));
        for (flags, words) in [
            (["--namespace", "Kube_System"], "--namespace"),
            (["--namespace", "a/b"], "--namespace"),
            (["--sidecars", "/"], "--sidecars"),
        ] {
            assert!(printed(&wanted(&flags)).is_err_and(|(what, _)| what.contains(words)), "{flags:?}");
        }
        for image in ["", "a b"] {
            assert!(printed(&Manifests { image: image.to_owned(), ..wanted(&[]) }).is_err(), "{image:?}");
        }
        assert_eq!(sockets([Path::new("/var/lib/kubelet/plugins/x/csi.sock")]), Ok(()));
        assert!(sockets([Path::new(&format!("/{}", "x".repeat(107)))]).is_err());
    }
}
