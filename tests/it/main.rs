mod config;
mod config_example;
mod config_secrets;
mod service_files;
mod process;
mod process_log;
mod process_rig;
mod process_tree;
