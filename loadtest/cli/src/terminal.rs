//! What a person at a terminal sees: the report on standard output, everything else on standard error.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is where the program talks"
)]

pub(crate) fn show(text: &str) {
    print!("{text}");
}

pub(crate) fn tell(line: &str) {
    eprintln!("{line}");
}

pub(crate) fn complain(message: &str) {
    eprintln!("roomcast-loadtest: {message}");
}
