use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(verb) if verb == "scripted-agent" => offshoot::demo::agent::scripted_agent_main(),
        _ => ExitCode::SUCCESS,
    }
}
