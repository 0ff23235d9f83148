//! Cargo does not see new migration files by itself: they are embedded by a macro.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
