//! The table of bad inputs: each row is a wrong manifest, the place that must be named and words that must be said.

use super::tests::{objects, plans};
use super::*;

/// A pod whose only volume has `volume` in its braces.
fn pod(volume: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\nspec:\n  containers: []\n  volumes:\n  - {{{volume}}}\n"
    )
}

/// A pod with a volume `v` and a container that has `mount` in the braces of its only mount.
fn mounting(mount: &str) -> String {
    pod("name: v, flexVolume: {driver: x/y}")
        .replace("containers: []", &format!("containers: [{{name: c, volumeMounts: [{{{mount}}}]}}]"))
}

fn object(kind: &str, rest: &str) -> String {
    format!("apiVersion: v1\nkind: {kind}\n{rest}\n")
}

fn errors(text: &str) -> Vec<ManifestError> {
    match objects(text) {
        Err(error) => vec![error],
        Ok(_) => plans(text).err().unwrap_or_default(),
    }
}

/// Each row must give exactly one error, at that line and column, with those words.
fn check(rows: &[(&str, String, (u64, u64), &str)]) {
    let mut wrong = Vec::new();
    for (name, text, place, words) in rows {
        let found = errors(text);
        let right = |error: &ManifestError| {
            let at = error.place.as_ref().map(|place| (place.line, place.column));
            let line = error.to_string();
            at == Some(*place) && line.contains(words) && !line.contains(char::is_control)
        };
        if found.len() != 1 || !found.iter().all(right) {
            let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
            wrong.push(format!("{name}: wanted `{words}` at {place:?}, found {lines:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn text_that_is_no_yaml() {
    check(&[
        ("colon in a plain value", "a: b: c\n".into(), (1, 5), "YAML"),
        ("unclosed bracket", "a: [1, 2\nb: 3\n".into(), (2, 2), "YAML"),
        ("unclosed quote", "a: \"x\nb: y\n".into(), (2, 1), "quoted"),
        ("indentation", "a:\n  b: 1\n c: 2\n".into(), (3, 2), "YAML"),
        ("tab", "a:\n\tb: 1\n".into(), (2, 2), "tabs"),
        ("key twice", "a: 1\nb: 2\na: 3\n".into(), (3, 1), "duplicate"),
        ("unknown alias", "a: *b\n".into(), (1, 4), "unknown"),
        ("JSON cut off", "{\"a\": {\"b\": 1}\n".into(), (1, 1), "unclosed"),
        ("in a later document", "kind: X\napiVersion: v1\n---\na: [\n".into(), (4, 4), "(document 2)"),
    ]);
    let found = errors("a:\n\tb: 1\n");
    assert!(found[0].hint.as_ref().unwrap().contains("tab"), "{found:?}");
}

#[test]
fn documents_that_are_no_objects() {
    check(&[
        ("a list", "- a\n".into(), (1, 1), "is no Kubernetes object"),
        ("a word", "hello\n".into(), (1, 1), "is no Kubernetes object"),
        ("no kind", "apiVersion: v1\n".into(), (1, 1), "has no kind"),
        ("no apiVersion", "kind: Pod\n".into(), (1, 1), "has no apiVersion"),
        ("kind is a number", "apiVersion: v1\nkind: 5\n".into(), (2, 7), "kind that is no text"),
        ("wrong version", "apiVersion: v1beta3\nkind: Pod\n".into(), (1, 13), "no version `v1beta3`"),
        ("items is a map", object("List", "items: {a: b}"), (3, 8), "is no list"),
        ("no name", object("Pod", "metadata: {namespace: x}"), (3, 11), "has no metadata.name"),
        ("no metadata", object("Pod", "spec: {}"), (1, 1), "has no metadata.name"),
        ("generateName", object("Pod", "metadata: {generateName: x-}"), (3, 11), "has no metadata.name"),
        ("name is a number", object("Pod", "metadata: {name: 5}"), (3, 18), "is no text"),
        ("field of a wrong type", object("Pod", "metadata: {name: a}\nspec: [x]"), (4, 7), "spec: is a list"),
        ("pod without spec", object("Pod", "metadata: {name: a}"), (1, 1), "spec: is missing"),
    ]);
}

#[test]
fn nothing_at_all_is_no_error() {
    for text in ["", "\n\n", "---\n", "---\n---\n", "# only words\n", "\u{feff}", "null\n", "--- ~\n...\n"] {
        let objects = objects(text).unwrap();
        assert!(objects.pods.is_empty() && objects.passed_over.is_empty(), "{text:?}");
    }
}

#[test]
fn options_that_are_no_text() {
    let size = |value: &str| pod(&format!("name: v, flexVolume: {{driver: x/y, options: {{size: {value}}}}}"));
    let mut rows = Vec::new();
    for (value, kind) in [
        ("5", "is a number,"),
        ("0x10", "is a number,"),
        ("-1", "is a number,"),
        ("1.5", "is a number,"),
        ("true", "is a boolean,"),
        ("yes", "is a boolean,"),
        ("off", "is a boolean,"),
        ("{a: b}", "is a map,"),
        ("[a]", "is a list,"),
        ("~", "is empty,"),
    ] {
        rows.push((value, size(value), (7, 57), kind));
    }
    check(&rows);
    for (name, text, ..) in &rows {
        let error = &errors(text)[0];
        assert!(error.what.ends_with("spec.volumes[0].flexVolume.options.size"), "{name}: {error}");
        let scalar = !name.starts_with(['[', '{', '~']);
        assert_eq!(error.hint.as_deref().is_some_and(|hint| hint.contains("quotes")), scalar, "{name}");
    }
    for value in ["'5'", "\"yes\"", "5Gi", "12:30", "v1"] {
        assert!(errors(&size(value)).is_empty(), "{value}");
    }
}

#[test]
fn hostile_names() {
    let long = "a".repeat(254);
    let flex = |driver: &str| pod(&format!("name: v, flexVolume: {{driver: {driver}}}"));
    let named = |name: &str| pod(&format!("name: {name}, flexVolume: {{driver: x/y}}"));
    let mut rows = Vec::new();
    for name in ["../../etc", "..", ".", "a/b", "\"a\\0b\"", "\"\"", "\"a\\e[31m\"", "Web", long.as_str()] {
        rows.push((name, object("Pod", &format!("metadata: {{name: {name}}}")), (3, 18), "metadata.name"));
        rows.push((name, object("Secret", &format!("metadata: {{name: {name}}}")), (3, 18), "metadata.name"));
        rows.push((name, object("PersistentVolume", &format!("metadata: {{name: {name}}}")), (3, 18), "metadata.name"));
    }
    for name in ["../../etc", "..", "a/b", "\"a\\0b\"", "\"\"", long.as_str()] {
        rows.push((name, named(name), (7, 12), "is not a volume name"));
    }
    for name in ["../..", "a/../b", "a/b/c", "/bin/sh", "\"a\\0\"", "a~b", "\"a b\""] {
        rows.push((name, flex(name), (7, 36), "is not a driver name"));
    }
    for uid in ["../x", "\"a/b\"", "\"a\\0\""] {
        let text = object("Pod", &format!("metadata: {{name: a, uid: {uid}}}\nspec: {{containers: []}}"));
        rows.push((uid, text, (3, 26), "is not a pod uid"));
    }
    for namespace in ["../x", "a/b", "\"a\\0\""] {
        let text = object("Pod", &format!("metadata: {{name: a, namespace: {namespace}}}"));
        rows.push((namespace, text, (3, 32), "is not a namespace"));
    }
    rows.push(("driver missing", flex(""), (7, 34), "driver: is missing"));
    check(&rows);
}

#[test]
fn paths_that_lead_elsewhere() {
    check(&[
        ("parent", mounting("name: v, mountPath: /a/../../etc"), (5, 62), "has a `..`"),
        ("root", mounting("name: v, mountPath: /"), (5, 62), "root of the container"),
        ("missing", mounting("name: v"), (5, 41), "mountPath: is missing"),
        ("colon", mounting("name: v, mountPath: \"/a:b\""), (5, 62), "colon"),
        ("sub path up", mounting("name: v, mountPath: /a, subPath: ../x"), (5, 75), "has a `..`"),
        ("sub path absolute", mounting("name: v, mountPath: /a, subPath: /x"), (5, 75), "is absolute"),
        ("sub path expression", mounting("name: v, mountPath: /a, subPathExpr: $(X)"), (5, 79), "not expanded"),
        ("no such volume", mounting("name: w, mountPath: /a"), (5, 48), "no volume named `w`"),
        ("twice", mounting("name: v, mountPath: /a}, {name: v, mountPath: /a/"), (5, 88), "two volumes"),
    ]);
}

#[test]
fn options_and_types_that_are_refused() {
    let options = |key: &str| pod(&format!("name: v, flexVolume: {{driver: x/y, options: {{{key}: a}}}}"));
    let mut rows = Vec::new();
    for key in ["kubernetes.io/fsType", "foo.k8s.io/y", "K8S.IO/z", "a.kubernetes.io"] {
        // `kubernetes.io` alone is one of the names below the reserved ones.
        rows.push((key, options(key), (7, 51), "the key is reserved"));
    }
    rows.push((
        "two types",
        pod("name: v, emptyDir: {}, flexVolume: {driver: x/y}"),
        (7, 5),
        "more than one type: emptyDir, flexVolume",
    ));
    rows.push((
        "two volumes of a name",
        pod("name: v, emptyDir: {}}\n  - {name: v, hostPath: {path: /}"),
        (8, 12),
        "two volumes named v",
    ));
    check(&rows);
    for key in ["mykubernetes.io/x", "example.com/k8s.io", "volumeID"] {
        assert!(errors(&options(key)).is_empty(), "{key}");
    }
}

#[test]
fn the_same_object_twice() {
    let sources = [("a.yaml", "x"), ("b.yaml", "x"), ("c.yaml", "z")].map(|(name, pod)| Source {
        name: name.to_owned(),
        text: format!("# one\n---\n{}", object("Pod", &format!("metadata: {{name: {pod}}}"))),
    });
    let error = parse(&sources).unwrap_err();
    assert_eq!(error.to_string(), "b.yaml:3:1: Pod default/x: is here a second time; the first is at a.yaml:3:1");
    assert!(parse(&sources[1..]).is_ok());
    for kind in ["PersistentVolume", "PersistentVolumeClaim", "Secret"] {
        let text = object(kind, "metadata: {name: x, namespace: default}\n---") + &object(kind, "metadata: {name: x}");
        let error = objects(&text).unwrap_err();
        assert!(error.to_string().contains("a second time"), "{error}");
        let elsewhere = text.replace("namespace: default", "namespace: other");
        assert_eq!(objects(&elsewhere).is_err(), kind == "PersistentVolume", "{kind}");
    }
}

#[test]
fn one_volume_twice_in_a_pod() {
    let text = super::tests::CLAIMING_POD
        .replace("claimName: disk}}]", "claimName: disk}}, {name: again, persistentVolumeClaim: {claimName: disk}}]")
        + "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: disk}, spec: {volumeName: p}}\n---\n\
        {apiVersion: v1, kind: PersistentVolume, metadata: {name: p}, spec: {flexVolume: {driver: x/y}}}\n";
    check(&[("claim twice", text, (7, 69), "is the same volume of x/y as data")]);
}

#[test]
fn secrets_never_appear_in_errors() {
    const MARK: &str = "hunter2hunter2";
    let secret = |rest: &str| object("Secret", &format!("metadata: {{name: s}}\n{rest}"));
    check(&[
        ("not base64", secret(&format!("data: {{p: \"{MARK}!\"}}")), (4, 11), "data.p: is not base64"),
        ("number", secret("stringData: {p: 12345678}"), (4, 17), "stringData.p: is a number"),
        ("map", secret(&format!("stringData: {{p: {{{MARK}: x}}}}")), (4, 17), "is a list or a map"),
        ("no map", secret(&format!("data: {MARK}")), (4, 7), "is no map"),
        ("hostile key", secret(&format!("stringData: {{../p: {MARK}}}")), (4, 14), "is no key"),
        ("type", secret("type: 5"), (4, 7), "type: is no text"),
    ]);
    // Wherever the YAML breaks, the parser must not quote what stood there.
    for broken in [
        format!("data: {{p: {MARK}: x}}"),
        format!("data: {{p: \"{MARK}"),
        format!("data:\n  p: {MARK}\n q: r"),
        format!("data:\n\tp: {MARK}"),
        format!("data: {{p: !!int {MARK}}}"),
        format!("data: {{p: !!float {MARK}}}"),
        format!("data: {{p: !!bool {MARK}}}"),
        format!("data: {{p: !!null {MARK}}}"),
        format!("data: {{p: !<{MARK}> x}}"),
        format!("data: {{p: !{MARK} [x]}}"),
        format!("data: {{p: &{MARK} [x], q: *{MARK}x}}"),
        format!("data: {{p: {MARK}, p: {MARK}}}"),
        format!("data: {{p: \"{MARK}\\q\"}}"),
        format!("data: {{p: @{MARK}}}"),
        format!("data: {{p: %{MARK}}}"),
        format!("data: {{<<: {MARK}}}"),
        format!("stringData: [{MARK}]"),
        format!("stringData: {{p: 1e999, q: {MARK}: {MARK}}}"),
        format!("metadata: {{name: t}}\ndata: {{p: [{MARK}]}}"),
    ] {
        let text = secret(&broken);
        let result = objects(&text);
        let told = format!("{result:?}");
        assert!(!told.contains("hunter"), "{broken}\n{told}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    // Every prefix of a full manifest, and the manifest with each byte replaced by a troublesome one.
    let text = pod("name: v, flexVolume: {driver: x/y, options: {a: 'b', c: &x \"d\", e: *x}}")
        + "---\n"
        + &object("Secret", "metadata: {name: s}\ndata: {a: YQ==}\nstringData: |\n  x\n");
    for end in 0..text.len() {
        errors(&text[..end]);
        for other in ["\t", "\n", "{", "[", "\"", "&", "*", ":", "-", "\0", "\u{feff}", "!"] {
            errors(&format!("{}{other}{}", &text[..end], &text[end + 1..]));
        }
    }
}
