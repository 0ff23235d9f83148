//! Integration tests: real programs, real files, one binary.

mod git;
mod git_fixture;
mod git_hostile;
mod git_remote;
mod git_vectors;
