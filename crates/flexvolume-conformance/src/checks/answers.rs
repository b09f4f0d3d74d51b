//! What is wrong with answers, whatever was asked: these checks listen to every call the others make.

use crate::{
    check::{Check, heard},
    heard::{CRASH, EXIT, HELD, KEYS, NOT_SUPPORTED, ONE_JSON, STATUS, STREAM, TIME, TYPES, WORDS},
    level::Severity::{Must, Note, Should},
};

pub(crate) const CHECKS: &[Check] = &[
    heard(
        ONE_JSON,
        Must,
        "standard output and standard error together are one JSON object for every call: hosts fail a call for one line more, though its work is done",
        "contract: A call",
        "print the answer once, at the end, a Failure where the work failed; send everything else, also what other programs print, to a file or to syslog",
    ),
    heard(
        TYPES,
        Must,
        "known members have the types of the contract: hosts fail a call whose `attached` is a string",
        "contract: How JSON is read",
        "write true and false without quotes, and `status`, `message` and `device` as strings",
    ),
    heard(
        STATUS,
        Should,
        "the status is Success, Failure or Not supported, letter by letter: any other word is a failure",
        "contract: A call",
        "use exactly these words",
    ),
    heard(
        EXIT,
        Must,
        "whoever says Success exits with 0: hosts take any other exit for a failure",
        "contract: A call",
        "end with `exit 0` after a Success; look what the last command of the script returns",
    ),
    heard(
        CRASH,
        Must,
        "the driver does not die of a signal",
        "contract: A call",
        "run the call that is shown by hand and see why it dies",
    ),
    heard(
        TIME,
        Must,
        "every call ends in time: a host has one place for a volume, and a call that hangs holds it",
        "contract: Demands on drivers",
        "give every wait inside the driver a limit, and answer Failure when it is over",
    ),
    heard(
        HELD,
        Must,
        "nothing that a call leaves running holds its output: hosts wait until nobody does",
        "contract: Demands on drivers, 6",
        "start daemons with their output closed or elsewhere: `daemon >/dev/null 2>&1 </dev/null &`",
    ),
    heard(
        NOT_SUPPORTED,
        Must,
        "\"Not supported\" is said of a verb always or never: hosts remember it and do not ask again, for no volume",
        "contract: Call-outs",
        "answer Failure with a message where the verb is served but this volume cannot have it",
    ),
    heard(
        WORDS,
        Should,
        "a Failure says why in `message`: it is all that a person gets to see",
        "contract: A call",
        "put the reason into `message`, in one sentence that says what to do",
    ),
    heard(
        STREAM,
        Should,
        "the answer is on standard output: some hosts read that alone",
        "contract: Two readings",
        "print the answer to standard output",
    ),
    heard(
        KEYS,
        Note,
        "members are written as the contract writes them: readers other than Kubernetes' may look at letter case",
        "contract: How JSON is read",
        "write `status`, `message`, `device`, `attached`, `capabilities`, `fsGroup` letter by letter",
    ),
];
