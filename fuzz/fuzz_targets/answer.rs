//! What a server answers to the client of programs: bytes of HTTP. An error may not repeat
//! the client's token or the key that it sent.
#![no_main]

use std::fmt::Debug;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use cluster_operator::Token;
use cluster_operator::autopilot::AutopilotConfiguration;
use cluster_operator::client::{ClientError, OperatorClient, Transport};
use cluster_operator::raft::{Consistency, PeerSelector};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use libfuzzer_sys::fuzz_target;

const TOKEN: &str = "s3cr3t-0f-a-t0ken";

/// Recordings have it. It does not begin as an escape of `Debug` ends, such as `\0`.
const KEY: &str = "G/3/L4yOw3e5T7NTvuRi9g==";

/// A connection whose other side answers with these bytes, and closes.
struct Scripted {
    answer: Bytes,
    asked: bool,
    reader: Option<Waker>,
}

impl Read for Scripted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let length = self.answer.len().min(buffer.remaining());
        buffer.put_slice(&self.answer[..length]);
        self.answer.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl Write for Scripted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.asked = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Connection for Scripted {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

fuzz_target!(|input: &[u8]| {
    let answer = Bytes::copy_from_slice(input);
    let connector = tower::service_fn(move |_| -> Ready<io::Result<Scripted>> {
        ready(Ok(Scripted {
            answer: answer.clone(),
            asked: false,
            reader: None,
        }))
    });
    // Time passes when nothing else can go on.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let client = OperatorClient::new("http://server".parse().expect("a URI"))
            .with_transport(Transport::over(connector))
            .with_token(&Token::new(TOKEN))
            .expect("a token for a header");
        let key = KEY.parse().expect("a key");
        let (id, configuration) = ("carol".into(), AutopilotConfiguration::default());
        check(client.raft_configuration(Consistency::Stale).await);
        check(
            client
                .remove_peer(&PeerSelector::Id("carol".into()), None)
                .await,
        );
        check(client.plan_removal(&PeerSelector::Id("carol".into())).await);
        check(client.force_removal(&id).await);
        check(client.replace_peer(&id, &"dave".into()).await);
        check(client.transfer_leadership(Some(&id)).await);
        check(client.list_keys().await);
        check_without(KEY, client.install_key(&key).await);
        check_without(KEY, client.remove_key(&key).await);
        check(client.autopilot_configuration().await);
        check(
            client
                .set_autopilot_configuration(&configuration, None)
                .await,
        );
        check(client.autopilot_health().await);
        check(client.diagnosis().await);
    });
});

fn check<T: Debug>(answer: Result<T, ClientError>) {
    check_without(TOKEN, answer);
}

/// Checks that an error does not show a secret that the client has sent.
fn check_without<T: Debug>(secret: &str, answer: Result<T, ClientError>) {
    if let Err(error) = answer {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(TOKEN) && !shown.contains(secret), "{shown}");
    }
}
