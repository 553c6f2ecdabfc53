//! A body that knows whether it was begun to be sent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

const WAITING: u8 = 0;
const STARTED: u8 = 1;
const ABANDONED: u8 = 2;

/// Whether a request was begun to be sent.
///
/// A connection that takes a request looks at its body before it writes the
/// first byte. So a request whose body nobody has looked at has not been sent,
/// whatever went wrong; and one that was abandoned before is not sent any more.
#[derive(Clone, Default)]
pub(super) struct Departure(Arc<AtomicU8>);

impl Departure {
    /// Forbids the sending. Says whether it was not begun yet, in which case
    /// nothing of the request arrives anywhere.
    pub(super) fn abandon(&self) -> bool {
        self.change(ABANDONED)
    }

    /// Begins the sending, unless it was abandoned.
    fn start(&self) -> bool {
        self.change(STARTED)
    }

    /// Whether it is in this state now, because it was before or was waiting.
    fn change(&self, to: u8) -> bool {
        match self
            .0
            .compare_exchange(WAITING, to, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => true,
            Err(now) => now == to,
        }
    }
}

/// The body of a request, and the watch over its departure.
pub(super) struct Outgoing {
    bytes: Option<Bytes>,
    departure: Departure,
}

/// The request was given up before it was sent.
#[derive(Debug, thiserror::Error)]
#[error("the request was given up before it was sent")]
pub(super) struct Abandoned;

impl Outgoing {
    pub(super) fn new(bytes: Bytes, departure: Departure) -> Self {
        Outgoing {
            bytes: Some(bytes).filter(|bytes| !bytes.is_empty()),
            departure,
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Abandoned;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Abandoned>>> {
        Poll::Ready(if self.departure.start() {
            self.bytes.take().map(|bytes| Ok(Frame::data(bytes)))
        } else {
            Some(Err(Abandoned))
        })
    }

    /// An abandoned body is not at its end: whoever wants to send it has to ask
    /// for more, and is told that there is none.
    fn is_end_stream(&self) -> bool {
        self.departure.start() && self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.departure.start() {
            SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
        } else {
            SizeHint::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;
    use http_body_util::BodyExt;

    use super::*;

    fn outgoing(text: &'static str) -> (Outgoing, Departure) {
        let departure = Departure::default();
        (Outgoing::new(text.into(), departure.clone()), departure)
    }

    #[test]
    fn whoever_looks_at_a_body_begins_to_send_it() {
        let looks: [fn(&mut Outgoing); 3] = [
            |body| _ = body.is_end_stream(),
            |body| _ = body.size_hint(),
            |body| drop(block_on(body.frame())),
        ];
        for text in ["", "{}"] {
            for look in looks {
                let (mut body, departure) = outgoing(text);
                look(&mut body);
                assert!(!departure.abandon());
                look(&mut body);
            }
        }
    }

    #[test]
    fn an_abandoned_body_cannot_be_sent_even_if_it_is_empty() {
        for text in ["", "{}"] {
            let (mut body, departure) = outgoing(text);
            assert!(departure.abandon());
            assert!(!body.is_end_stream());
            assert_eq!(body.size_hint().exact(), None);
            assert!(block_on(body.frame()).unwrap().is_err());
            assert!(departure.abandon());
        }
    }
}
