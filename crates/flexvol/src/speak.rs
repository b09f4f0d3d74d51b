//! One line at a time to standard output and standard error, below all that has something to say.

/// Prints a line of results. That nobody can read it any more stops nothing that is under way.
macro_rules! say {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut anstream::stdout(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

/// Prints a line for people, on standard error; as [`say`] it never stops anything.
macro_rules! tell {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut anstream::stderr(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

pub(crate) use {say, tell};
