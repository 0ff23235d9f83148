//! What somebody wants of a tree of files, asked as the tree is walked.

/// Wishes, told by their place. Paths are relative and `/`-separated.
pub trait Wishes: Send {
    fn count(&self) -> usize;
    /// Those that this file meets.
    fn met_by(&mut self, path: &[u8]) -> Vec<usize>;
    /// Whether a file below this directory may meet one; others are not entered.
    fn may_be_met_below(&mut self, dir: &[u8]) -> bool;
    /// Whether nobody waits for the answer any more: asked before each name.
    fn are_given_up(&self) -> bool;
}
