pub fn scripted_agent_main() -> std::process::ExitCode { std::process::ExitCode::SUCCESS }
