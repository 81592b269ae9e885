//! `voipctl`: the operator's side of voipd.

fn main() -> std::process::ExitCode {
    voip::os::ctl::main(std::env::args_os())
}
