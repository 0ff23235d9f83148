mod config;
mod config_example;
mod config_secrets;
mod service_files;
