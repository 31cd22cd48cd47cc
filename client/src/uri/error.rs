//! What is no URI. Values are not shown: somebody may have put a secret there.

use zipnet_protocol::{InstanceNameError, ParamsError};

use super::Key;

/// A text that is no URI of a zipnet instance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// The form of it.
    #[error(
        "This is no URI of a zipnet instance; zipnet:INSTANCE?committee=KEY&bootstrap=PEERID@ip:port would be right"
    )]
    Form,
    /// The instance.
    #[error("The URI does not name an instance")]
    Instance(#[source] InstanceNameError),
    /// A key that there is not.
    #[error("The URI has the key {key:?}, which there is not; {right} would be right")]
    Unknown {
        /// The key.
        key: String,
        /// What was meant, or all that there are.
        right: String,
    },
    /// A secret.
    #[error(
        "The URI has the key {key:?}, and a URI is passed around: it holds no secret. To set an invite at the `Builder`, and to have no other secret, would be right"
    )]
    Secret {
        /// The key.
        key: String,
    },
    /// A value that cannot be used.
    #[error("The value of `{key}` in the URI cannot be used; {right} would be right", right = .key.right())]
    Value {
        /// Whose value.
        key: Key,
    },
    /// A key that is there again.
    #[error("The URI has the key `{key}` twice; once would be right")]
    Twice {
        /// The key.
        key: Key,
    },
    /// Half of what judges evidence.
    #[error("The URI has `{found}` without `{missing}`; both of them, or neither, would be right")]
    Half {
        /// What it has.
        found: Key,
        /// What it lacks.
        missing: Key,
    },
    /// The shape of the broadcasts.
    #[error("`slots` and `slot-bytes` in the URI give no usable broadcast")]
    Params(#[source] ParamsError),
}
