//! The way of a plugin from its reference to its first call, what a swap costs those whose messages it handles, and what
//! the gateway weighs while a large one compiles.

mod compile;
mod start;
mod swap;

/// A debug build shows that the bench runs, with less of everything; its figures mean nothing.
const SMALL: bool = cfg!(debug_assertions);

pub(crate) fn supply() {
    start::cold();
    swap::pause();
    compile::memory_while_compiling();
}
