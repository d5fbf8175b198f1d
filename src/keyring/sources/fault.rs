//! What is wrong with the environment: by variable, never by value.

use std::{fmt, io};

/// One fault. Every text in it is the name of a variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A secret that is needed and that nothing sets.
    #[error("{name} is not set; set it, or {name}_FILE to the path of a file that holds it")]
    Missing {
        /// The secret.
        name: String,
    },
    /// One of the variables that make up a credential together.
    #[error("{name} is not set, though {beside} is; set both, or neither")]
    PartMissing {
        /// The one that is missing.
        name: String,
        /// Those that make it up with it.
        beside: String,
    },
    /// Two sources for one variable.
    #[error("both {first} and {second} are set; keep one of them")]
    GivenTwice {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// A variable that is not UTF-8, or a file that is not.
    #[error("{name} does not hold UTF-8 text; give the key as text")]
    NotText {
        /// The variable, or the file by its variable.
        name: String,
    },
    /// A file that cannot be read.
    #[error("{name} names what cannot be read ({kind}); correct the path or its permissions")]
    Unreadable {
        /// The variable that holds the path.
        name: String,
        /// How reading it failed.
        kind: io::ErrorKind,
    },
    /// A file without a key in it.
    #[error("the file of {name} is empty; write the key into it")]
    EmptyFile {
        /// The file, by its variable.
        name: String,
    },
    /// A file that is too large to be a key.
    #[error("the file of {name} is larger than 1 MiB, which no key is; correct the path")]
    FileTooLarge {
        /// The file, by its variable.
        name: String,
    },
    /// Fewer characters than the catalog asks for.
    #[error(
        "{name} is too short; use at least {min} characters, for example of `openssl rand -base64 32`"
    )]
    Short {
        /// The variable.
        name: String,
        /// The fewest characters, as JavaScript counts them (UTF-16 code units).
        min: usize,
    },
    /// A value that stands for a key and is none.
    #[error(
        "{name} is a placeholder; put a random value there, for example of `openssl rand -base64 32`"
    )]
    Placeholder {
        /// The variable.
        name: String,
    },
    /// One value for two purposes.
    #[error("{first} and {second} hold the same key; give each a value of its own")]
    Shared {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// A ring that cannot be read.
    #[error("{name} is malformed: {fault}")]
    Ring {
        /// The ring's variable.
        name: String,
        /// What is wrong with it.
        fault: RingFault,
    },
    /// Previous values that cannot be read.
    #[error("{name} is malformed; give one value, or a JSON array of texts that are not empty")]
    Previous {
        /// The variable.
        name: String,
    },
    /// Previous values of which some lack a part.
    #[error(
        "{name} and {beside} hold different numbers of values; give each previous value in both, in the same order"
    )]
    PreviousUneven {
        /// Where the one part stands.
        name: String,
        /// Where the other stands.
        beside: String,
    },
    /// An active id that is no key id.
    #[error("{name} is no key id; use only A-Z a-z 0-9 . _ -")]
    ActiveIdInvalid {
        /// The active id's variable.
        name: String,
    },
    /// An active id that names no key.
    #[error("{name} names no key of {ring}; add that key to the ring, or name one that is there")]
    ActiveIdUnknown {
        /// The active id's variable.
        name: String,
        /// The ring's variable.
        ring: String,
    },
    /// A ring of which no key is chosen.
    #[error("{ring} is set and {name} is not; set it to the id of the key that is in use")]
    ActiveIdMissing {
        /// The active id's variable.
        name: String,
        /// The ring's variable.
        ring: String,
    },
    /// An active id without a ring.
    #[error("{name} is set and {ring} is not; set the ring, or remove the id")]
    ActiveIdWithoutRing {
        /// The active id's variable.
        name: String,
        /// The ring's variable.
        ring: String,
    },
    /// Two different keys of one secret with one id.
    #[error("{first} and {second} give two different keys of {secret} one id; rename one of them")]
    SameId {
        /// The secret.
        secret: String,
        /// Where the one stands.
        first: String,
        /// Where the other stands.
        second: String,
    },
}

/// What is wrong with a ring. Tells no key id: a ring that is written the wrong
/// way round has the keys in their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingFault {
    /// Not JSON.
    #[error("it is not JSON; write an object of key ids and keys")]
    NotJson,
    /// JSON of another type.
    #[error("it is not a JSON object; write an object of key ids and keys")]
    NotAnObject,
    /// An object without keys.
    #[error("it holds no key; add one, or remove the variable")]
    Empty,
    /// A key id outside its grammar.
    #[error("one of its key ids is empty or has a character outside A-Z a-z 0-9 . _ -; rename it")]
    BadId,
    /// A key that is no text, or empty.
    #[error("one of its keys is empty or not text; write each key as text")]
    BadValue,
}

/// Every fault of an environment, each once, in the order of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// `value` if there is no fault.
    pub(crate) fn none_or<T>(faults: Vec<Fault>, value: T) -> Result<T, Self> {
        let mut unique = Vec::with_capacity(faults.len());
        for fault in faults {
            if !unique.contains(&fault) {
                unique.push(fault);
            }
        }
        if unique.is_empty() { Ok(value) } else { Err(Self(unique)) }
    }

    /// Each fault.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

/// One line a fault.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the keys in the environment cannot be used:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n- {fault}"))
    }
}

impl std::error::Error for Faults {}
