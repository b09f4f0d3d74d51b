//! What the bridge does and no other command: volumes held, grown and let go, by one wish as JSON. The answer is one line of JSON.
#![allow(clippy::print_stdout, reason = "its line is its answer")]

use std::{env, path::PathBuf, process::ExitCode};

use flexvolume_host::{
    Error, Held, Hold, Host, Kind, Result, Settings,
    settings::{Config, PATIENCE},
    volume::{
        admit::Request,
        record::{SecretRef, Spec, User},
    },
};
use flexvolume_protocol::{DriverName, PodUid, Secret, Secrets, UserOptions, VolumeName};
use serde::Deserialize;
use serde_json::{Value, json};

/// A wish.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wish {
    verb: String,
    driver: DriverName,
    volume: VolumeName,
    #[serde(default)]
    fs_type: String,
    #[serde(default)]
    options: UserOptions,
    #[serde(default)]
    block: bool,
    #[serde(default)]
    read_only: bool,
    attached: Option<String>,
    /// A secret that this call brings.
    secret: Option<String>,
    #[serde(default)]
    capacity: u64,
    /// The place of `publish`, `unpublish` and `grow`.
    at: Option<String>,
    /// The ledger's key after the driver, if it is not the volume's name.
    key: Option<String>,
    /// The uid of the pod at that place.
    #[serde(default)]
    pod: String,
}

fn main() -> ExitCode {
    if let Some(code) = flexvolume_host::worker() {
        return code;
    }
    let _ = flexvolume_linux::process::settle();
    let answer = match done() {
        Ok(value) => json!({ "ok": value }),
        Err(error) => {
            json!({"error": format!("{:?}", error.kind()), "story": error.story(), "hint": error.next()})
        }
    };
    println!("{answer}");
    ExitCode::from(u8::from(answer.get("error").is_some()))
}

fn done() -> Result<Value> {
    let invalid = |why: String| Error::new(Kind::Invalid, why);
    let text = env::args().nth(1).ok_or_else(|| invalid("hold-helper JSON".into()))?;
    let wish: Wish = serde_json::from_str(&text).map_err(|e| invalid(e.to_string()))?;
    let path = |name: &str| env::var_os(name).map(PathBuf::from).ok_or_else(|| invalid(format!("no {name}")));
    let settings = Settings {
        root: path("FLEXVOL_ROOT")?,
        plugin_dir: path("FLEXVOL_PLUGIN_DIR")?,
        run: path("FLEXVOL_RUN")?,
        worker: "/proc/self/exe".into(),
        patience: PATIENCE,
        config: Config::read(&path("FLEXVOL_CONFIG")?)?,
    };
    let host = Host::open(settings, &|_| ())?;
    let spec = Spec {
        fs_type: wish.fs_type,
        options: wish.options,
        secret: wish.secret.as_ref().map(|_| SecretRef::callers()),
        block: wish.block,
        mount_options: Vec::new(),
    };
    let keys = |_: &SecretRef| match &wish.secret {
        None => Err(Error::new(Kind::NotFound, "this call brings no secret")),
        Some(text) => {
            let mut secrets = Secrets::default();
            secrets.insert("word", Secret::new(text.clone().into_bytes()));
            Ok(secrets)
        }
    };
    let notes = |_| ();
    let key = format!("{}/{}", wish.driver, wish.key.as_deref().unwrap_or(wish.volume.as_str()));
    let place = || wish.at.clone().ok_or_else(|| invalid("no place".into()));
    match wish.verb.as_str() {
        "hold" => {
            let (driver, name, read_only) = (wish.driver, wish.volume, wish.read_only);
            host.hold(&Hold { driver, name, spec, read_only, shared: false, attached: wish.attached }, &keys, &notes)
                .map(shown)
        }
        "held" => Ok(host.held(&wish.driver, &wish.volume)?.map_or(Value::Null, shown)),
        "restage" => host.restage(&key, &keys, &notes).map(shown),
        "release" => host.release(&key, &keys, &notes).map(|()| Value::Null),
        "settle" => host.settle(&key, &keys, &notes).map(|()| Value::Null),
        "grow" => host.grow(&key, wish.capacity, wish.at.as_deref(), &keys, &notes).map(Value::from),
        "unpublish" => host.unpublish(&key, &place()?, &keys, &notes).map(|()| Value::Null),
        "publish" => {
            let uid = PodUid::parse(&place()?).map_err(|e| invalid(e.to_string()))?;
            let user = user(wish.pod, wish.volume.to_string(), wish.read_only);
            let (driver, name) = (wish.driver, wish.volume);
            let (persistent, exclusive, capacity) = (true, false, None);
            let request = Request { driver, name, persistent, exclusive, capacity, uid, spec, user };
            let published = host.publish(&request, &keys, &notes)?;
            Ok(json!({"path": published.path, "changed": published.changed}))
        }
        verb => Err(invalid(format!("no verb {verb}"))),
    }
}

fn user(uid: String, volume: String, read_only: bool) -> User {
    User {
        pod: "pod".into(),
        namespace: "default".into(),
        uid,
        service_account: "default".into(),
        fs_group: Some(4242),
        fs_group_on_mismatch: false,
        read_only,
        volume,
        mounts: Vec::new(),
    }
}

fn shown(held: Held) -> Value {
    let Held { key, kind: _, path, device, read_only, changed, spec: _, alone: _ } = held;
    json!({"key": key, "path": path, "device": device, "readOnly": read_only, "changed": changed})
}
