//! The code is what the generator makes of `proto/` today. `FLEXVOL_WRITE=1 cargo test -p flexvolume-csi` writes it anew.

use std::{fs, path::Path};

use prost_reflect::{DescriptorPool, Kind, MessageDescriptor, Value};

use crate::{here, read};

/// One whose text may hold secrets has no `Debug` that would tell them.
fn holds_secrets(message: &MessageDescriptor, pool: &DescriptorPool) -> bool {
    let Some(mark) = pool.get_extension_by_name("csi.v1.csi_secret") else { return false };
    message.fields().any(|field| field.options().get_extension(&mark).as_ref() == &Value::Bool(true))
}

/// Whose side of the services the code is.
#[derive(Clone, Copy)]
enum Side {
    /// Ours, with all messages.
    Server,
    /// That of the tests, whose messages are those of the server.
    Client,
}

fn generated(file: &str, package: &str, side: Side) -> String {
    let pool = read(&here("proto"), file);
    let out = tempfile::tempdir().unwrap();
    let secret: Vec<_> = pool.all_messages().filter(|message| holds_secrets(message, &pool)).collect();
    let builder = tonic_prost_build::configure().build_transport(false).out_dir(out.path());
    let builder = match side {
        Side::Server => builder
            .build_client(false)
            .generate_default_stubs(false)
            .btree_map(".")
            .skip_debug(secret.iter().map(|message| format!(".{}", message.full_name()))),
        Side::Client => builder.build_server(false).extern_path(format!(".{package}"), "::flexvolume_csi::wire::csi"),
    };
    let mut set = prost_reflect::prost_types::FileDescriptorSet::default();
    set.file.extend(pool.file_descriptor_protos().cloned());
    builder.compile_fds(set).unwrap();
    fs::read_to_string(out.path().join(format!("{package}.rs"))).unwrap()
}

fn is_of_today(file: &str, package: &str, side: Side, code: &str) {
    let path = here(code);
    let now = generated(file, package, side);
    if std::env::var_os("FLEXVOL_WRITE").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == now,
        "{} is not what proto/{file} makes: FLEXVOL_WRITE=1 cargo test -p flexvolume-csi",
        shown(&path)
    );
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn the_code_of_csi_is_of_today() {
    is_of_today("csi.proto", "csi.v1", Side::Server, "src/wire/csi.rs");
}

#[test]
fn the_code_of_the_clients_of_tests_is_of_today() {
    is_of_today("csi.proto", "csi.v1", Side::Client, "../../tests/csi/clients.rs");
}

#[test]
fn the_code_of_the_registration_is_of_today() {
    is_of_today("registration.proto", "pluginregistration", Side::Server, "src/wire/registration.rs");
}

#[test]
fn every_field_of_secrets_is_marked() {
    let pool = read(&here("proto"), "csi.proto");
    let mark = pool.get_extension_by_name("csi.v1.csi_secret").unwrap();
    let mut count = 0;
    for message in pool.all_messages() {
        for field in message.fields().filter(|field| field.name() == "secrets") {
            assert!(matches!(field.kind(), Kind::Message(_)) && field.is_map());
            assert_eq!(field.options().get_extension(&mark).as_ref(), &Value::Bool(true), "{}", field.full_name());
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}
