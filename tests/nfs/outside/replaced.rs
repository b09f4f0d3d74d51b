//! A share that is another one under the same name, or none any more, while another machine has it mounted.

use std::fs;

use super::{far::Far, on_two_machines};
use crate::{server::until, tools::text};

#[test]
fn another_server_in_the_place_of_the_first_is_mounted_anew_and_the_stale_pod_comes_down() {
    on_two_machines(
        "replaced::another_server_in_the_place_of_the_first_is_mounted_anew_and_the_stale_pod_comes_down",
        |far| {
            for (number, version) in (10..).step_by(10).zip(["4.2", "4.1", "3"]) {
                let share = format!("/srv/v{version}");
                far.server.exports(&share, number);
                let (one, two) = (far.place("one"), far.place("two"));
                let (j1, j2) = (far.j("pv-1", &share, version), far.j("pv-2", &share, version));
                far.up(&j1, &one);
                fs::write(one.join("old"), "old").unwrap();
                let open = fs::File::open(one.join("old")).unwrap();
                // Another machine, with another disk, that knows nobody of before.
                far.server.stops();
                far.server.does(&format!(
                    "exportfs -u 10.9.1.0/24:{share}; rm -rf /var/lib/nfs/v4recovery/*; hostname {version}
                     mount -t tmpfs other {share}; echo new >{share}/new"
                ));
                far.server.exports(&share, number + 1);
                far.server.starts();
                until("the client notices", || fs::read_dir(&one).is_err());
                assert_eq!(far.soon(&["gethealth", &j1.text()]).ok().get("condition"), "inaccessible");
                far.up(&j2, &two);
                assert_eq!(fs::read_to_string(two.join("new")).unwrap(), "new\n");
                assert_eq!(far.own().len(), 1, "{:?}", far.own());
                // The first, whose pod still has a file open.
                let said = far.down_soon(&j1, &one);
                assert!(said.contains("(stale)"), "{said}");
                assert_eq!(fs::read_to_string(two.join("new")).unwrap(), "new\n");
                drop(open);
                far.down(&j2, &two);
                far.assert_down();
            }
            deleted(far);
        },
    );
}

/// A share that is deleted, and made again later.
fn deleted(far: &Far) {
    for (number, version) in (50..).zip(["4.2", "3"]) {
        let share = format!("/srv/deleted{version}");
        far.server.exports(&share, number);
        let (one, two) = (far.place("one"), far.place("two"));
        let (j1, j2) = (far.j("pv-1", &share, version), far.j("pv-2", &share, version));
        far.up(&j1, &one);
        fs::write(one.join("file"), "x").unwrap();
        far.server.does(&format!("rm -r {share}; exportfs -f"));
        until("the client notices", || fs::read_dir(&one).is_err());
        assert_eq!(far.soon(&["gethealth", &j1.text()]).ok().get("condition"), "inaccessible");
        far.soon(&["mountdevice", text(&two), "", &j2.text()])
            .fails("", &[if version == "3" { "No such file or directory" } else { "exports no such directory" }]);
        // In its place another one.
        far.server.does(&format!("mkdir {share}; echo again >{share}/file; exportfs -f"));
        far.up(&j2, &two);
        assert_eq!(fs::read_to_string(two.join("file")).unwrap(), "again\n");
        // Nobody uses it, so nothing had to be done to it.
        assert_eq!(far.down_soon(&j1, &one), "");
        assert_eq!(fs::read_to_string(two.join("file")).unwrap(), "again\n");
        far.down(&j2, &two);
        far.assert_down();
    }
}
