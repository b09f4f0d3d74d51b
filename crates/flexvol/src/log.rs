//! The log on standard error, when somebody asks for it.

use std::fmt;

use tracing::{Event, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::{
    aside,
    cli::{LogFormat, LogLevel},
    line::Line,
};

/// Starts the log.
pub(crate) fn start(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(|| aside::Lines).with_ansi(false);
    // What libraries say of themselves is nobody's business here, and might hold what we never write down.
    let ours = Targets::new().with_target("flexvol", level);
    // It fails only where one was started before.
    let _ = match format {
        LogFormat::Text => tracing_subscriber::registry().with(layer.with_filter(ours)).try_init(),
        LogFormat::Json => tracing_subscriber::registry().with(layer.event_format(AsLine).with_filter(ours)).try_init(),
    };
}

/// Whether the log holds what is worth knowing of a run that goes well.
pub(crate) fn tells_calls() -> bool {
    LevelFilter::current() >= LevelFilter::INFO
}

/// Writes an event as every other line for programs is written.
struct AsLine;

impl<S, N> FormatEvent<S, N> for AsLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Line::new(*event.metadata().level(), event.metadata().target(), "");
        event.record(&mut line);
        writeln!(writer, "{line}")
    }
}
