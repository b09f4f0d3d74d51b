//! Kubernetes' suite for CSI drivers, by itself: what it holds in the version that is pinned.

use flexvol_tests::sanity::Sanity;

/// With another number the pages that count cases must be read again.
#[test]
fn it_has_the_cases_that_were_counted() {
    let dir = tempfile::tempdir().unwrap();
    let Some(sanity) = Sanity::new(&dir.path().join("nobody.sock"), dir.path()) else { return };
    let report = sanity.list().unwrap();
    assert_eq!((report.run(), report.left_out.len(), report.all()), (102, 1, 103), "{report}");
    let count = |heading: &str| report.passed.iter().filter(|case| case.name.starts_with(heading)).count();
    for (heading, cases) in [
        ("Identity Service", 3),
        ("Controller Service", 35),
        ("CreateSnapshot", 6),
        ("DeleteSnapshot", 3),
        ("ListSnapshots", 7),
        ("GetSnapshot", 3),
        ("ExpandVolume", 3),
        ("ModifyVolume", 6),
        ("ControllerGetVolumeHealth", 2),
        ("ControllerListVolumeHealth", 1),
        ("GroupController Service", 6),
        ("Node Service", 27),
    ] {
        assert_eq!(count(heading), cases, "{heading}\n{report}");
    }
}

#[test]
fn what_is_left_out_by_name_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let Some(sanity) = Sanity::new(&dir.path().join("nobody.sock"), dir.path()) else { return };
    let report = sanity.without_provisioning().leave_out("Identity Service Probe").list().unwrap();
    // Each expression fits something: 2, 2, 2, 2, 1, 1, 1, 1, 3, and the probe; and one the suite itself leaves out.
    assert_eq!((report.run(), report.left_out.len()), (86, 17), "{report}");
    assert_eq!(report.not_run()["left out by name"].len(), 16);
    report.assert(&[]);
}
