use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(verb) if verb == "shim" => offshoot::process::shim_main(arguments),
        _ => ExitCode::from(2),
    }
}
