//! What was written through a target is there again, whatever came between.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

use flexvolume_csi::wire::csi::volume_capability::access_mode::Mode::SingleNodeMultiWriter;

use crate::{bed::Bed, flows::Flow, volume::block};

#[test]
fn what_was_written_is_there_after_everything() {
    for mut flow in Flow::all() {
        let name = flow.name;
        let file = flow.bed.target("one").join("file");
        let read = |when: &str| {
            let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}, {when}: {error}"));
            assert_eq!(text, "written once", "{name}, {when}");
        };
        flow.stage();
        flow.publish("one");
        fs::write(&file, "written once").unwrap();
        read("at once");
        flow.unpublish("one");
        assert!(!file.exists(), "{name}: still seen");
        flow.publish("one");
        read("after unpublish");
        flow.bed.restart();
        read("after a kill");
        flow.publish("one");
        read("published again after a kill");
        flow.unpublish("one");
        flow.unstage();
        flow.bed.assert_clean();
        flow.stage();
        flow.publish("one");
        read("after unstage");
        flow.bed.kill();
        read("while no bridge runs");
        flow.bed.start();
        flow.unpublish("one");
        flow.unstage();
        flow.bed.assert_clean();
        flow.bed.restart();
        flow.stage();
        flow.publish("one");
        read("after a restart with nothing there");
        flow.unpublish("one");
        flow.unstage();
        assert_eq!(flow.bed.stop(), 0, "{name}: {}", flow.bed.log());
        flow.bed.assert_clean();
    }
}

/// A bridge that is told to end leaves what it has mounted.
#[test]
fn a_stop_leaves_what_is_mounted() {
    for mut flow in Flow::all() {
        let file = flow.bed.target("one").join("file");
        flow.stage();
        flow.publish("one");
        fs::write(&file, "here").unwrap();
        assert_eq!(flow.bed.stop(), 0);
        assert_eq!(fs::read_to_string(&file).unwrap(), "here", "{}", flow.name);
        flow.bed.start();
        flow.unpublish("one");
        flow.unstage();
        flow.bed.assert_clean();
    }
}

#[test]
fn a_device_keeps_what_was_written() {
    let Some(mut bed) = Bed::of("loopback") else { return };
    let volume = bed.create("raw").used_as(block(SingleNodeMultiWriter));
    let target = bed.target("one");
    let open = || File::options().read(true).write(true).open(&target).unwrap();
    let read = |when: &str| {
        let mut bytes = [0; 12];
        open().read_exact_at(&mut bytes, 4096).unwrap();
        assert_eq!(&bytes, b"written once", "{when}");
    };
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "one").unwrap();
    let device = open();
    device.write_all_at(b"written once", 4096).unwrap();
    device.sync_all().unwrap();
    drop(device);
    bed.unpublish(&volume, "one").unwrap();
    assert!(!target.exists());
    bed.publish(&volume, "one").unwrap();
    read("after unpublish");
    bed.restart();
    bed.publish(&volume, "one").unwrap();
    read("after a kill");
    bed.unpublish(&volume, "one").unwrap();
    bed.unstage(&volume).unwrap();
    bed.assert_clean();
    bed.restart();
    bed.stage(&volume).unwrap();
    bed.publish(&volume, "two").unwrap();
    bed.publish(&volume, "one").unwrap();
    read("after unstage");
    bed.unpublish(&volume, "two").unwrap();
    read("while another pod goes");
    bed.unpublish(&volume, "one").unwrap();
    bed.unstage(&volume).unwrap();
    bed.assert_clean();
    bed.delete(&volume).unwrap();
    bed.delete(&volume).unwrap();
    let images = bed.command.sandbox.path().join("images");
    let left: Vec<_> =
        crate::bed::walk(&images).into_iter().filter(|path| path.extension() == Some("img".as_ref())).collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
}
