mod process;
mod process_log;
mod process_rig;
mod process_tree;
