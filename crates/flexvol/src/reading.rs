//! One answer of a driver under both readings, Kubernetes' and ours, in the words that people are shown.

use flexvolume_linux::process::{How, Outcome};
use flexvolume_protocol::{Answer, Came, Reading, Redactor, Said, VerbName, Verdict, render_reply, strict, tolerant};

/// One answer, read twice.
pub(crate) struct Readings<R> {
    /// What Kubernetes makes of it.
    pub(crate) kubernetes: Result<Came<R>, Verdict>,
    /// What we make of it.
    pub(crate) flexvol: Reading<R>,
}

impl<R: Answer> Readings<R> {
    /// Reads what the driver said to `verb`.
    pub(crate) fn of(verb: VerbName, said: &Said<'_>) -> Self {
        Self { kubernetes: strict(verb, said), flexvol: tolerant(verb, said) }
    }

    /// Without the secrets that the redactor knows. A reply keeps them: only its words are shown, by [`word`].
    pub(crate) fn redacted(self, redactor: &Redactor) -> Self {
        let Reading { verdict, forgiven, remember_not_supported } = self.flexvol;
        let clean = |verdict: Verdict| verdict.redacted(redactor);
        Self {
            kubernetes: self.kubernetes.map_err(clean),
            flexvol: Reading {
                verdict: verdict.map_err(clean),
                forgiven: forgiven.into_iter().map(|forgiven| forgiven.redacted(redactor)).collect(),
                remember_not_supported,
            },
        }
    }

    /// What was forgiven, in words.
    pub(crate) fn forgiven(&self) -> Vec<String> {
        self.flexvol.forgiven.iter().map(ToString::to_string).collect()
    }
}

/// What a process said, to be read: whole, and whether it ended well. One that answered and became a daemon has.
pub(crate) fn said(outcome: &Outcome) -> Said<'_> {
    let exit_ok = matches!(outcome.how, How::Exited(0) | How::Stayed(_));
    Said { stdout: &outcome.stdout, stderr: &outcome.stderr, exit_ok }
}

/// A verdict in a word, with what the answer says beside its status.
pub(crate) fn word<R: Answer>(verdict: Result<Came<R>, Verdict>, redactor: &Redactor) -> String {
    match verdict {
        Ok(Came::Done(reply)) => {
            let read = render_reply(Ok(Came::Done(reply)));
            if read == r#"{"status":"Success"}"# {
                return "Success".into();
            }
            format!("Success, read as {}", redactor.text(&read))
        }
        Ok(Came::NotSupported) => "Not supported".into(),
        Ok(Came::InProgress) => "In progress".into(),
        Err(verdict) => format!("failed: {verdict}"),
    }
}
