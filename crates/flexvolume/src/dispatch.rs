//! From argv to one line of JSON: everything a call came with is a field here, so a driver runs whole in a unit test.

use std::{
    any::Any,
    borrow::Cow,
    ffi::OsString,
    io::Read,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use flexvolume_linux::beneath::{Trust, real_place};
use flexvolume_protocol::{
    Answer, Args, Call, Came, Code, CreateVolume, Created, Extension, Health, InitReply, VerbName, render_reply_with,
};
use zeroize::Zeroizing;

use crate::{Driver, Failure, OptionsExt, Result, World, panics, staged};

/// What a driver was called with. [`crate::run`] takes it from the process; a test writes it down.
///
/// ```no_run
/// use flexvolume::{Dispatcher, Driver};
/// struct Idle;
/// impl Driver for Idle {}
/// let answered = Dispatcher::new(["/exec/v~idle/idle", "init"]).dispatch(&Idle);
/// assert!(answered.success && answered.text.starts_with(r#"{"status":"Success""#));
/// ```
pub struct Dispatcher {
    /// The executable as called, the verb, its arguments.
    pub argv: Vec<OsString>,
    /// Standard input; read only when `-` stands for the options.
    pub stdin: Box<dyn Read>,
    /// The environment; the kit reads `FLEXVOL_RUN`, `FLEXVOL_STATE` and `FLEXVOL_SETTINGS`.
    pub env: Vec<(OsString, OsString)>,
}

/// What the driver answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// One line of JSON, without a line break.
    pub text: String,
    /// Whether the process shall exit with 0: so after everything but a failure.
    pub success: bool,
}

/// More than any host sends; a stream without end must not eat the machine.
const LONGEST_STDIN: u64 = 16 << 20;

impl Dispatcher {
    /// A call with empty standard input and environment.
    pub fn new<S: Into<OsString>>(argv: impl IntoIterator<Item = S>) -> Self {
        let argv = argv.into_iter().map(Into::into).collect();
        Self { argv, stdin: Box::new(std::io::empty()), env: Vec::new() }
    }

    /// The call this process was started for.
    pub(crate) fn of_process() -> Self {
        let env = std::env::vars_os().filter(|(key, _)| key.as_encoded_bytes().starts_with(b"FLEXVOL_")).collect();
        Self { argv: std::env::args_os().collect(), stdin: Box::new(std::io::stdin()), env }
    }

    /// The same call with a variable in its environment.
    #[must_use]
    pub fn with_env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// The same call with something on standard input.
    #[must_use]
    pub fn with_stdin(mut self, stdin: impl Read + 'static) -> Self {
        self.stdin = Box::new(stdin);
        self
    }

    /// Runs the call to its end; there is an answer whatever happens, a panic of the driver included.
    pub fn dispatch<D: Driver>(mut self, driver: &D) -> Answered {
        let world = World::of(self.argv.first(), &self.env);
        let ran = catch_unwind(AssertUnwindSafe(|| self.answer(driver, &world)));
        let answered = ran.unwrap_or_else(|panic| {
            world.log(format_args!("panic: {}", panics::told(&message(panic.as_ref()))));
            let failure = Failure::internal("the driver broke off by a fault of its own; its log says where");
            render::<()>(VerbName::Init, Err(failure), &world)
        });
        // The answer holds what the options held of the volume, but neither secrets nor options themselves.
        let verb = self.argv.get(1).map(|verb| verb.to_string_lossy().into_owned()).unwrap_or_default();
        world.log(format_args!("{verb} -> {}", answered.text));
        answered
    }

    fn answer<D: Driver>(&mut self, driver: &D, world: &World) -> Answered {
        let call = match self.parse() {
            Ok(Some(call)) => call,
            Ok(None) => return render::<()>(VerbName::Init, Err(Failure::not_supported()), world),
            Err(failure) => return render::<()>(VerbName::Init, Err(failure), world),
        };
        if let Some(options) = call.options() {
            world.keep_secret(options.secrets());
        }
        route(driver, &call, world)
    }

    /// `None` for a verb that nobody knows.
    fn parse(&mut self) -> Result<Option<Call>> {
        let Some(verb) = self.argv.get(1) else {
            let message = "a FlexVolume driver is called with a verb, for example `init`, and its arguments";
            return Err(Failure::new(Code::Invalid, message));
        };
        let Some(verb) = verb.to_str().and_then(VerbName::parse) else { return Ok(None) };
        let mut args = Vec::with_capacity(self.argv.len());
        for (position, arg) in self.argv.iter().enumerate().skip(2) {
            let text = arg.to_str().ok_or_else(|| {
                Failure::new(Code::Invalid, format!("argument {} of {verb} is not UTF-8", position - 1))
            })?;
            args.push(Cow::Borrowed(text));
        }
        let argument = |name| verb.arguments().iter().position(|argument| *argument == name);
        if let Some(dir) = argument("dir").and_then(|at| args.get_mut(at)) {
            *dir = Cow::Owned(real(dir)?);
        }
        let by_stdin = argument("options").and_then(|at| args.get(at)).is_some_and(|text| *text == "-");
        let stdin = if by_stdin { read(&mut self.stdin)? } else { Zeroizing::default() };
        Call::parse(verb.as_str(), &mut Args::new(&args, &stdin))
            .map_err(|error| Failure::new(Code::Invalid, error.to_string()))
    }
}

/// A host's folder may lie behind links that its administrator laid; from here on no path of it goes through one, and none that
/// somebody else lays is followed.
fn real(dir: &str) -> Result<String> {
    let path = Path::new(dir);
    if !path.is_absolute() || dir.contains('\0') {
        // For the parser to refuse.
        return Ok(dir.to_owned());
    }
    let not_text = |_| Failure::new(Code::Invalid, "the directory's real path is not UTF-8");
    real_place(path, Trust::here)?.into_os_string().into_string().map_err(not_text)
}

fn read(stdin: &mut dyn Read) -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(Code::Invalid, format!("cannot read the options from standard input: {why}"))
    };
    match stdin.take(LONGEST_STDIN + 1).read_to_string(&mut text) {
        Ok(length) if length as u64 > LONGEST_STDIN => Err(failed(&"there are more than 16 MiB")),
        Ok(_) => Ok(text),
        Err(error) => Err(failed(&error)),
    }
}

/// Each verb to its method; those that strangers call of a staged driver to the composed flow.
fn route<D: Driver>(driver: &D, call: &Call, world: &World) -> Answered {
    let verb = call.verb();
    let staged = D::EXTENSIONS.contains(&Extension::Staged);
    match call {
        Call::Init(call) => render(verb, init(driver, call, world), world),
        Call::GetVolumeName(call) => render(verb, driver.getvolumename(call, world), world),
        Call::Attach(call) if staged => render(verb, staged::attach(driver, call, world), world),
        Call::Attach(call) => render(verb, driver.attach(call, world), world),
        Call::IsAttached(call) => render(verb, driver.isattached(call, world), world),
        Call::WaitForAttach(call) => render(verb, driver.waitforattach(call, world), world),
        Call::MountDevice(call) => render(verb, driver.mountdevice(call, world), world),
        Call::Mount(call) if staged => render(verb, staged::mount(driver, call, world), world),
        Call::Mount(call) => render(verb, driver.mount(call, world), world),
        Call::Unmount(call) if staged => render(verb, staged::unmount(driver, call, world), world),
        Call::Unmount(call) => render(verb, driver.unmount(call, world), world),
        Call::UnmountDevice(call) => render(verb, driver.unmountdevice(call, world), world),
        Call::Detach(call) if staged => render(verb, staged::detach(driver, call, world), world),
        Call::Detach(call) => render(verb, driver.detach(call, world), world),
        Call::ExpandVolume(call) => render(verb, driver.expandvolume(call, world), world),
        Call::ExpandFs(call) if staged && call.device.0.is_empty() => {
            render(verb, staged::expandfs(driver, call, world), world)
        }
        Call::ExpandFs(call) => render(verb, driver.expandfs(call, world), world),
        Call::CreateVolume(call) => render(verb, createvolume(driver, call, world), world),
        Call::DeleteVolume(call) => render(verb, driver.deletevolume(call, world), world),
        Call::CreateSnapshot(call) => render(verb, driver.createsnapshot(call, world), world),
        Call::DeleteSnapshot(call) => render(verb, driver.deletesnapshot(call, world), world),
        Call::ListSnapshots(call) => render(verb, driver.listsnapshots(call, world), world),
        Call::GetCapacity(call) => render(verb, driver.getcapacity(call, world), world),
        Call::ListVolumes(call) => render(verb, driver.listvolumes(call, world), world),
        Call::GetHealth(call) => {
            // Words for people, as those of a failure are.
            let clean = |health: Health| Health { message: world.redact(&health.message), ..health };
            render(verb, driver.gethealth(call, world).map(clean), world)
        }
        Call::ModifyVolume(call) => render(verb, driver.modifyvolume(call, world), world),
    }
}

/// Who asks for a copy and got an empty volume would take its data for lost; who asks for what can be changed would wait for it in vain.
fn createvolume<D: Driver>(driver: &D, call: &CreateVolume, world: &World) -> Result<Created> {
    if call.options.source()?.is_some() && !D::EXTENSIONS.contains(&Extension::Clone) {
        let message = "this driver makes empty volumes only, not of other volumes or snapshots";
        return Err(Failure::new(Code::Unsupported, message));
    }
    if !call.options.mutable()?.is_empty() && !D::EXTENSIONS.contains(&Extension::Modify) {
        let message = "this driver has no parameters that could be changed later";
        return Err(Failure::new(Code::Unsupported, message));
    }
    driver.createvolume(call, world)
}

fn init<D: Driver>(driver: &D, call: &flexvolume_protocol::Init, world: &World) -> Result<InitReply> {
    driver.init(call, world)?;
    let mut capabilities = driver.capabilities();
    if D::EXTENSIONS.contains(&Extension::Staged) {
        capabilities.attach = false;
    }
    // Whoever reads options here reads them from either place, so no secret need ever stand in a command line.
    let extensions = D::EXTENSIONS.iter().copied().chain([Extension::Stdin]).collect();
    Ok(InitReply { capabilities, extensions, unknown: Vec::new() })
}

fn render<R: Answer>(verb: VerbName, result: Result<R>, world: &World) -> Answered {
    let reply = match result {
        Ok(answer) => Ok(Came::Done(answer)),
        Err(failure) if failure.is_not_supported() => Ok(Came::NotSupported),
        Err(failure) if failure.is_in_progress() && verb.may_be_in_progress() => Ok(Came::InProgress),
        Err(failure) => {
            let mut failed = failure.into_failed();
            failed.message = world.redact(&failed.message);
            Err(failed)
        }
    };
    let success = reply.is_ok();
    Answered { text: render_reply_with(reply, world.said()), success }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without words").to_owned()
}
