//! Reading the body of a message under a limit.

use std::error::Error;

use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// An error of reading a body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    /// It is larger than the limit.
    #[error("the body is too large")]
    TooLarge,
    /// It broke off.
    #[error("the body has broken off")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read<B>(body: B, limit: usize) -> Result<Bytes, Unread>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    // A body with a length can be rejected unread.
    if body.size_hint().lower() > limit as u64 {
        return Err(Unread::TooLarge);
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Unread::TooLarge),
        Err(error) => Err(Unread::Broken(error)),
    }
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;
    use http_body_util::Full;

    use super::*;

    #[test]
    fn body_is_read_up_to_the_limit() {
        let read = |limit| block_on(read(Full::new(Bytes::from_static(b"12345")), limit));
        assert_eq!(read(5).unwrap(), "12345");
        assert!(matches!(read(4), Err(Unread::TooLarge)));
    }
}
