//! A server that is away for a while, stopped or unplugged, with writers at work by each version of NFS.

use std::{fs, path::Path};

use super::{
    far::{Far, IMPATIENT, PATIENT, SERVES, Server},
    note, on_two_machines,
    writer::{Writer, check},
};
use crate::tools::text;

const SHARE: &str = "/srv/load";
const VERSIONS: [&str; 3] = ["4.2", "4.1", "3"];

/// How a server goes, and comes back.
struct Absence {
    name: &'static str,
    begins: fn(&Server),
    ends: fn(&Server),
}

const ABSENCES: [Absence; 2] = [
    Absence { name: "stopped", begins: Server::stops, ends: Server::starts },
    Absence { name: "unplugged", begins: Server::is_pulled, ends: Server::is_plugged },
];

#[test]
fn a_server_that_is_away_for_a_while_has_every_line_and_every_verb_answers_meanwhile() {
    on_two_machines(
        "stopped::a_server_that_is_away_for_a_while_has_every_line_and_every_verb_answers_meanwhile",
        |far| {
            far.server.exports(SHARE, 1);
            far.server.does(&format!("mkdir {SHARE}/aside {SHARE}/base"));
            let pods = VERSIONS.map(|version| {
                let (j, place) = (far.j(&format!("pv-{version}"), SHARE, version), far.place(version));
                far.up(&j, &place);
                let writer =
                    Writer::start(&place.join(version), &far.bed.sandbox.path().join(format!("book-{version}")));
                (version, j, place, writer)
            });
            let mut pods = Vec::from(pods);
            for absence in ABSENCES {
                pods.iter_mut().for_each(|(.., writer)| writer.goes_on());
                // One more volume of each mount, which nobody uses.
                let aside = VERSIONS.map(|version| far.place(&format!("aside-{version}")));
                for (version, place) in VERSIONS.iter().zip(&aside) {
                    far.up(&far.j(&format!("aside-{version}"), SHARE, version).with("subdir", "aside"), place);
                    fs::write(place.join("seen"), version).unwrap();
                }
                (absence.begins)(&far.server);
                let pool = format!(r#"{{"server":"{SERVES}","share":"{SHARE}","base":"base"}}"#);
                far.set(&IMPATIENT.replace('}', &format!(r#","pools":{{"p":{pool}}}}}"#)));
                let before: Vec<u32> = pods.iter().map(|(.., writer)| writer.lines()).collect();
                meanwhile(far, &aside);
                for ((version, .., writer), before) in pods.iter().zip(&before) {
                    // One may just have been on its way.
                    assert!(writer.lines() <= before + 1, "{}: {version} writes on", absence.name);
                }
                (absence.ends)(&far.server);
                far.set(PATIENT);
                pods.iter_mut().for_each(|(.., writer)| writer.goes_on());
                note(format_args!("{}: after lines {before:?} of {VERSIONS:?} they wrote on", absence.name));
                // What failed meanwhile succeeds now.
                let j = far.j("again", SHARE, "4.2").with("subdir", "aside");
                far.up(&j, &aside[0]);
                assert!(aside[0].join("seen").exists());
                far.down(&j, &aside[0]);
            }
            for (version, j, place, writer) in pods {
                let lines = writer.stop();
                check(&far.server.does(&format!("cat {SHARE}/{version}")), lines);
                far.down(&j, &place);
            }
            far.assert_down();
        },
    );
}

/// Every verb about every mount, while the server is away.
fn meanwhile(far: &Far, aside: &[impl AsRef<Path>]) {
    let new = far.place("new");
    for (version, idle) in VERSIONS.iter().zip(aside) {
        // Another volume of a share that is mounted, and the one that is being written to once more.
        let j = far.j("new", SHARE, version).with("subdir", "aside");
        far.soon(&["mountdevice", text(&new), "", &j.text()]).fails("", &["has not answered within 3s"]);
        let j = far.j(&format!("pv-{version}"), SHARE, version);
        far.soon(&["mountdevice", text(&far.place(version)), "", &j.text()]).fails("", &["has not answered within 3s"]);
        assert_eq!(far.soon(&["gethealth", &j.text()]).ok().get("condition"), "inaccessible");
        // One that nobody uses goes as if nothing were, and nobody else is disturbed.
        let said = far.down_soon(&far.j(&format!("aside-{version}"), SHARE, version), idle.as_ref());
        assert_eq!(said, "", "{version}");
        // A share that is not mounted yet.
        let j = far.j("other", "/srv/other", version).with("mountOptions", "noatime");
        far.soon(&["mountdevice", text(&new), "", &j.text()]).fails("", &[]);
        far.soon(&["detach", "other", "node"]).ok();
    }
    let made = flexvolume_testkit::driver::J::default().with("flexvol/name", "v").with("flexvol/id", "p/v");
    for verb in ["createvolume", "getcapacity"] {
        far.soon(&[verb, &made.text()]).fails("", &["has not answered"]);
    }
    assert_eq!(far.own().len(), VERSIONS.len(), "{:?}", far.own());
}
