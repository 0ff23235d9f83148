use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(verb) if verb == "shim" => offshoot::process::shim_main(arguments),
        Some(verb) if verb == "scripted-agent" => offshoot::demo::agent::scripted_agent_main(),
        _ => ExitCode::from(2),
    }
}
