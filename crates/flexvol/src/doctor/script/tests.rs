//! The reader of scripts against what drivers are made of, and against anything.

use proptest::prelude::*;

use super::{
    dash::Bashism,
    scan::{Reach, Scan, scan},
};

fn names(scan: &Scan) -> Vec<&str> {
    scan.calls.iter().map(|call| call.name.as_str()).collect()
}

fn reach(text: &str, name: &str) -> Reach {
    let scan = scan(text);
    assert_eq!(scan.lost, None, "{text}");
    scan.calls.iter().find(|call| call.name == name).unwrap_or_else(|| panic!("no {name} in {text}")).reach
}

/// A driver as they are written, with all that confuses a reader.
const DRIVER: &str = r##"#!/bin/sh
# jq is needed; not-a-command
usage() {
    err "Invalid usage. Usage: "
    err "	$0 mount <mount dir> <json params>"
    exit 1
}

err() { echo "$*" 1>&2; }
log () { printf '%s\n' "$*" >> /var/log/driver.log; }   # notcalled
ismounted() {
    MOUNT=`findmnt -n "${MNTPATH}" 2>/dev/null | cut -d' ' -f1`
    if [ "${MOUNT}" = "${MNTPATH}" ]; then echo "1"; else echo 0; fi
}
domount() {
    MNTPATH=$1
    NFS_SERVER=$(echo "$2" | jq -r '.server // "none; not | a & command"')
    SIZE=$((1024 * (2 + 3)))
    if [ "$(ismounted)" -eq 1 ] ; then log "done"; exit 0; fi
    mkdir -p "${MNTPATH}" &> /dev/null
    mount -t nfs4 "${NFS_SERVER}:/share" "${MNTPATH}" || {
        err "{ \"status\": \"Failure\", \"message\": \"it's gone\"}"
        exit 1
    }
    while read -r line; do grep -q "$line" /proc/mounts && sed s/a/b/; done <<EOF
ghost $(nothing-in-here)
EOF
    cat <<-'END' | tr a b
	phantom | spectre
	END
    case "$line" in
        yes|y) true ;;
        [nN]*) rmdir "$MNTPATH" ;;
        *) FOO=bar env X=1 umount "$MNTPATH" 2>/dev/null || true
    esac
}
op=$1
case "$op" in
    init) log '{"status": "Success"}'; exit 0;;
esac
if ! command -v curl >/dev/null 2>&1; then curl --version; fi
case "$op" in
    (mount) shift; domount "$@" ;;
    unmount)
        shift
        "$SOMETHING" "$@"
        . /usr/lib/common.sh
        PATH=$PATH:/opt/bin exec stunnel "$1"
        ;;
    *) usage ;;
esac
"##;

#[test]
fn a_drivers_commands_are_found_and_nothing_else() {
    let scan = scan(DRIVER);
    assert_eq!(scan.lost, None);
    let expected = "err err exit echo printf findmnt cut [ echo echo echo jq ismounted [ log exit mkdir mount err exit read grep \
                    sed cat tr true rmdir umount env true log exit command curl shift domount shift . stunnel exec usage";
    assert_eq!(names(&scan).join(" "), expected);
    assert_eq!(scan.functions.iter().collect::<Vec<_>>(), ["domount", "err", "ismounted", "log", "usage"]);
    assert_eq!(scan.asked.iter().collect::<Vec<_>>(), ["curl"]);
    assert_eq!(scan.sources, ["/usr/lib/common.sh"]);
    assert_eq!(scan.paths, ["$PATH:/opt/bin"]);
    for label in ["init", "mount", "unmount", "yes", "y"] {
        assert!(scan.labels.contains(label), "{label}");
    }
    // Lines are counted through quotes and here-documents.
    for (name, words) in [("jq", "| jq -r"), ("stunnel", "exec stunnel"), ("umount", "env X=1 umount")] {
        let call = scan.calls.iter().find(|call| call.name == name).unwrap();
        assert!(DRIVER.lines().nth(call.line as usize - 1).unwrap().contains(words), "{call:?}");
    }
    assert_eq!(scan.bashisms, [(Bashism::BothStreams, 20)]);
    let mount = scan.calls.iter().find(|call| call.name == "mount").unwrap();
    assert_eq!(mount.words[..2], [Some("-t".to_owned()), Some("nfs4".to_owned())]);
}

#[test]
fn what_depends_is_told_from_what_does_not() {
    for (text, expected) in [
        ("jq .", Reach::Always),
        ("x=$(jq .)", Reach::Always),
        ("x=`jq .`", Reach::Always),
        ("f() { jq .; }\nf", Reach::Always),
        ("case $1 in a) jq . ;; esac", Reach::Always),
        ("for i in 1 2; do jq .; done", Reach::Always),
        ("if jq .; then echo; fi", Reach::Always),
        ("echo | jq .", Reach::Always),
        ("jq . || fail", Reach::Always),
        ("if true; then :; fi; jq .", Reach::Always),
        ("if true; then if a; then b; fi; jq .; fi", Reach::Maybe),
        ("if true; then a; else jq .; fi", Reach::Maybe),
        ("if true; then x=`jq .`; fi", Reach::Maybe),
        ("[ -n \"$1\" ] && jq .", Reach::Maybe),
        ("a || jq .", Reach::Maybe),
        ("jq . || true", Reach::Forgiven),
        ("jq . 2>/dev/null || :", Reach::Forgiven),
        ("a && jq . || true; b", Reach::Forgiven),
    ] {
        assert_eq!(reach(text, "jq"), expected, "{text}");
    }
    assert_eq!(reach("jq .; a || true", "jq"), Reach::Always, "only its own list is forgiven");
}

#[test]
fn each_bashism_is_found_where_it_is_one() {
    let of = |text: &str| scan(text).bashisms.iter().map(|(what, _)| *what).collect::<Vec<_>>();
    for (text, what) in [
        ("if [[ $a == b* && -n $c ]]; then d; fi", Bashism::DoubleBracket),
        ("function f { a; }", Bashism::Function),
        ("function f() { a; }", Bashism::Function),
        ("a=(one two \"$three\")", Bashism::Array),
        ("echo ${a[0]}", Bashism::Array),
        ("a[1]=x", Bashism::Array),
        ("a+=x", Bashism::Append),
        ("diff <(a) b", Bashism::ProcessSubstitution),
        ("jq . <<< \"$x\"", Bashism::HereString),
        ("a &>/dev/null", Bashism::BothStreams),
        ("a |& b", Bashism::BothStreams),
        ("((i++))", Bashism::Arithmetic),
        ("for ((i=0;i<3;i++)); do a; done", Bashism::Arithmetic),
        ("IFS=$'\\n'", Bashism::DollarQuote),
        ("echo ${a:0:3}", Bashism::Parameter),
        ("echo \"${a//x/y}\"", Bashism::Parameter),
        ("echo ${a^^}", Bashism::Parameter),
        ("echo ${!a}", Bashism::Parameter),
        ("echo -ne '{}'", Bashism::EchoFlags),
        ("echo -e x", Bashism::EchoFlags),
        ("[ \"$a\" == b ]", Bashism::DoubleEquals),
        ("set -euo pipefail", Bashism::PipeFail),
        ("read -a x", Bashism::ReadFlags),
        ("source ./x", Bashism::Builtin("source")),
        ("declare -A x", Bashism::Builtin("declare")),
        ("trap clean ERR", Bashism::TrapName),
    ] {
        assert_eq!(of(text).first(), Some(&what), "{text}");
    }
    for fine in [
        "[ \"$a\" = b ]",
        "echo -n x",
        "echo - ne",
        "echo ${a:-b} ${a:=c} ${a#*/} ${a%%.*} ${#a} ${a:+x} $# $? $!",
        "a=$((1 + 2))",
        "( (a) )",
        "f() { :; }",
        "a >/dev/null 2>&1 &\nb",
        "echo '[[ $x == y ]] <<< &>' \"function f ${x}\"",
        "read -r a",
        "set -eu",
        "trap clean EXIT",
        ". ./x",
        "case $x in [ab]) y;; esac",
        "cat <<EOF\n[[ a ]]\nfunction\nEOF\n",
    ] {
        assert_eq!(of(fine), [], "{fine}");
        assert_eq!(scan(fine).lost, None, "{fine}");
    }
}

#[test]
fn what_another_language_follows_in_is_left_alone() {
    for text in
        ["#!/bin/sh\nexec perl -x -- \"$0\"\n#!perl\nmy $x = (1); foo(", "eval 'exec perl -S $0'\n if 0;\nfoo('"]
    {
        let scan = scan(text);
        assert!(scan.lost.is_none() && !names(&scan).contains(&"foo"), "{scan:?}");
    }
    for goes_on in ["exec 2>>/log\njq", "if a; then exec b; fi\njq", "f() { exec b; }\njq", "a || exec b\njq"] {
        assert!(names(&scan(goes_on)).contains(&"jq"), "{goes_on}");
    }
    assert_eq!(names(&scan("for i do jq \"$i\" | nc; done; for i\ndo lvs; done")), ["jq", "nc", "lvs"]);
}

#[test]
fn a_variable_with_one_value_is_what_it_says() {
    let of = |text: &str| names(&scan(text)).join(" ");
    for call in ["$JQ", "\"$JQ\"", "${JQ}", "\"${JQ}\""] {
        assert_eq!(of(&format!("JQ=\"/usr/bin/jq -r\"\n{call} .x")), "/usr/bin/jq");
    }
    for unknown in ["$JQ", "JQ=a; JQ=b; $JQ", "JQ=$(which jq); $JQ", "JQ=a; $JQ/b; \"$JQ$JQ\"", "$1"] {
        assert_eq!(of(unknown).replace("which", ""), "", "{unknown}");
    }
}

#[test]
fn who_asks_first_is_known() {
    let text = "which jq; type curl >/dev/null; hash nc 2>/dev/null; [ -x /sbin/mount.cifs ] || exit 1; sudo lvs; \
                alias ll='ls -l'";
    let scan = scan(text);
    for asked in ["jq", "curl", "nc", "/sbin/mount.cifs"] {
        assert!(scan.asked.contains(asked), "{asked}");
    }
    assert!(scan.functions.contains("ll"));
    assert!(names(&scan).contains(&"lvs"));
}

#[test]
fn what_is_not_closed_is_told_by_its_line() {
    for (text, line) in
        [("a\nb \"c\n", 3), ("a\n$(b\n", 3), ("x='\n", 1), ("case a in\n", 2), ("[[ a\n", 2), ("a)\nb", 1)]
    {
        assert_eq!(scan(text).lost, Some(line), "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_or_hang(text in any::<String>()) {
        scan(&text);
    }

    #[test]
    fn no_pieces_of_shell_make_it_panic_or_hang(pieces in proptest::collection::vec(0_usize..PIECES.len(), 0..40)) {
        let text: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        scan(&text);
    }
}

const PIECES: &[&str] = &[
    "\"",
    "'",
    "`",
    "$(",
    "$((",
    "${",
    "}",
    ")",
    "))",
    "(",
    "((",
    "[[",
    " ]]",
    "<<",
    "<<-E",
    "<<<",
    "<(",
    "&>",
    "&&",
    "||",
    "|",
    ";",
    ";;",
    "\n",
    " ",
    "\\",
    "#",
    "if ",
    "then ",
    "fi ",
    "case ",
    " in ",
    "esac ",
    "for ",
    "do ",
    "done ",
    "function ",
    "a",
    "a=",
    "a=(",
    "a[",
    "]=",
    "{ ",
    "$",
    "$'",
    "!",
    "é",
    "PATH=",
    "echo -e ",
    "command -v ",
    ". ",
    "~",
    "*",
];
