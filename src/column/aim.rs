//! What is final, in a form that SQL can test.

/// What a value of one column looks like when nothing is left to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aim {
    /// Any of these prefixes is final: `enc:v3:<primary>:` for the target `bound`.
    pub prefixes: Vec<String>,
}
