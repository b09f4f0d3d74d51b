//! Writes the script: everything it says is quoted so that a shell gives back exactly those bytes.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::installed::Scripted;
use super::script::{Answer, Script, Shell};

/// The folder of records, beside the script: real drivers write there too, and a scan passes over dot files.
const RECORD: &str = ".calls";

impl Script {
    /// Writes `<plugins>/<vendor~driver>/<driver>`, executable, over one that is there; calls recorded before stay.
    ///
    /// # Errors
    /// The name has no sensible last part, or a file cannot be written.
    pub fn install(&self, plugins: &Path, name: &str) -> io::Result<Scripted> {
        install(self, plugins, name)
    }
}

fn install(script: &Script, plugins: &Path, name: &str) -> io::Result<Scripted> {
    let file = name.rsplit('/').next().unwrap_or_default();
    if file.is_empty() || file.starts_with('.') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no name for a driver: {name:?}")));
    }
    let folder = plugins.join(name.replace('/', "~"));
    let record = folder.join(RECORD);
    for dir in [plugins, &folder, &record] {
        if !dir.is_dir() {
            fs::create_dir(dir).map_err(|e| about(dir, &e))?;
            fs::set_permissions(dir, Permissions::from_mode(0o755)).map_err(|e| about(dir, &e))?;
        }
    }
    let text = record.join("script");
    fs::write(&text, whole(script, &record)).map_err(|e| about(&text, &e))?;
    fs::set_permissions(&text, Permissions::from_mode(0o755)).map_err(|e| about(&text, &e))?;
    let exe = folder.join(file);
    let hidden = folder.join(format!(".{file}.new"));
    // Another process writes it: a descriptor of ours, open for writing, could leak into a child that another thread
    // of the tests forks just now, and the script would be "busy" to exec.
    let status = Command::new("cp").args(["-p", "--"]).arg(&text).arg(&hidden).status()?;
    if !status.success() {
        return Err(about(&hidden, &format!("cp: {status}")));
    }
    fs::rename(&hidden, &exe).map_err(|e| about(&exe, &e))?;
    fs::remove_file(&text).map_err(|e| about(&text, &e))?;
    Ok(Scripted { exe, record, env: script.env.clone() })
}

fn whole(script: &Script, record: &Path) -> Vec<u8> {
    let shell = match script.shell {
        Shell::Sh => "/bin/sh",
        Shell::Bash => "/bin/bash",
    };
    let mut out = Vec::new();
    put(&mut out, &format!("#!{shell}\n_d="));
    out.extend(quoted(record.as_os_str().as_encoded_bytes()));
    out.push(b'\n');
    put(&mut out, &preamble(script));
    put(&mut out, "case \"$1\" in\n");
    for (verb, answers) in &script.verbs {
        out.extend(quoted(verb.as_bytes()));
        put(&mut out, ")\n");
        each(&mut out, verb, answers);
        put(&mut out, ";;\n");
    }
    put(&mut out, "*)\n");
    say(&mut out, &script.otherwise);
    put(&mut out, ";;\nesac\n");
    out
}

/// Records the call. The name is new by O_EXCL (a pid comes again some day); the order is that of short appends.
fn preamble(script: &Script) -> String {
    let env: Vec<String> = script.env.iter().map(|name| format!(" \"${{{name}+=}}${{{name}-}}\"")).collect();
    let stdin = if script.stdin { "cat >\"$_r.stdin\"\n" } else { "" };
    format!(
        "_n=0\nset -C\n\
         until printf '%s\\0' \"$0\" \"$PWD\" \"$#\" \"$@\"{env} >\"$_d/$$.$_n\"; do\n\
         _n=$((_n+1)); [ $_n -lt 1000 ] || exit 97\n\
         done 2>/dev/null\nset +C\n_r=$_d/$$.$_n\necho \"$$.$_n\" >>\"$_d/order\"\n\
         _end() {{ echo \"$1\" >\"$_r.end\"; exit \"$1\"; }}\n{stdin}",
        env = env.concat()
    )
}

/// Counts the calls of a verb that has more than one answer, and chooses.
fn each(out: &mut Vec<u8>, verb: &str, answers: &[Answer]) {
    let Some((last, first)) = answers.split_last() else { return };
    if first.is_empty() {
        return say(out, last);
    }
    put(out, "_c=$_d/count.");
    out.extend(quoted(verb.replace('/', "_").as_bytes()));
    put(out, "\n_n=0; [ ! -s \"$_c\" ] || read -r _n <\"$_c\"\n_n=$((_n+1)); echo $_n >\"$_c\"\ncase $_n in\n");
    for (index, answer) in first.iter().enumerate() {
        put(out, &format!("{})\n", index + 1));
        say(out, answer);
        put(out, ";;\n");
    }
    put(out, "*)\n");
    say(out, last);
    put(out, ";;\nesac\n");
}

fn say(out: &mut Vec<u8>, answer: &Answer) {
    if let Some(text) = &answer.shell {
        put(out, text);
        return put(out, "\n_end $?\n");
    }
    if let Some(text) = &answer.run {
        put(out, &format!("if ! {{ {text}\n}} >>\"$_d/printed\" 2>&1; then\n"));
        put(out, "echo '{\"status\":\"Failure\",\"message\":\"the scripted action failed\"}'; _end 1\nfi\n");
    }
    if let Some(time) = answer.sleep {
        put(out, &sleep(time, ""));
    }
    if let Some(time) = answer.hold {
        put(out, &sleep(time, " &"));
    }
    if !answer.stderr.is_empty() {
        out.extend(printf(&answer.stderr));
        put(out, " >&2\n");
    }
    if !answer.stdout.is_empty() {
        out.extend(printf(&answer.stdout));
        out.push(b'\n');
    }
    if let Some(time) = answer.linger {
        put(out, &sleep(time, ""));
    }
    put(out, &format!("_end {}\n", answer.exit));
}

fn sleep(time: Duration, after: &str) -> String {
    format!("sleep {}.{:03}{after}\n", time.as_secs(), time.subsec_millis())
}

/// A printf that gives these bytes, NUL included.
fn printf(bytes: &[u8]) -> Vec<u8> {
    let mut format = Vec::new();
    for byte in bytes {
        match byte {
            0 => format.extend(b"\\000"),
            b'\\' => format.extend(b"\\\\"),
            b'%' => format.extend(b"%%"),
            other => format.push(*other),
        }
    }
    [b"printf -- ".to_vec(), quoted(&format)].concat()
}

fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![b'\''];
    for byte in bytes {
        match byte {
            b'\'' => out.extend(b"'\\''"),
            other => out.push(*other),
        }
    }
    out.push(b'\'');
    out
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend(text.as_bytes());
}

fn about(path: &Path, why: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("scripted driver: {}: {why}", path.display()))
}
