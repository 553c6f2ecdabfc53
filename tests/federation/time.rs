//! How the time of a call is divided, and what the outcome is when a call ends by its
//! deadline.

use super::*;

/// A Raft whose first view is slow or fails, and whose second view never comes.
struct Views {
    raft: MockRaft,
    first: Mutex<Option<Result<(), OperatorError>>>,
}

impl Views {
    fn new(raft: MockRaft, first: Result<(), OperatorError>) -> Self {
        Views {
            raft,
            first: Mutex::new(Some(first)),
        }
    }
}

#[async_trait]
impl RaftBackend for Views {
    async fn view(&self) -> Result<RaftView, OperatorError> {
        let first = self.first.lock().unwrap().take();
        match first {
            Some(first) => first?,
            None => std::future::pending().await,
        }
        self.raft.view().await
    }

    async fn confirmed_view(&self, timeout: Duration) -> Result<RaftView, OperatorError> {
        self.raft.confirmed_view(timeout).await
    }

    async fn change_membership(&self, change: &Change) -> Result<(), OperatorError> {
        self.raft.change_membership(change).await
    }

    async fn transfer_leadership(&self, _: &ServerId, _: Duration) -> Result<(), OperatorError> {
        Err(ErrorKind::NoLeader.into())
    }
}

/// An autopilot whose changes find no leader.
struct Leaderless;

#[async_trait]
impl AutopilotBackend for Leaderless {
    async fn configuration(&self) -> Result<AutopilotConfiguration, OperatorError> {
        Ok(AutopilotConfiguration::default())
    }

    async fn set_configuration(
        &self,
        _: AutopilotConfiguration,
        _: Option<u64>,
    ) -> Result<bool, OperatorError> {
        Err(ErrorKind::NoLeader.into())
    }

    async fn state(&self) -> Result<AutopilotState, OperatorError> {
        Ok(AutopilotState::default())
    }
}

fn carol() -> PeerSelector {
    PeerSelector::Id("carol".into())
}

#[tokio::test(start_paused = true)]
async fn leader_wait_is_deducted_from_the_forwarded_time() {
    let peers = MockPeers::new();
    let alice = OperatorService::builder("dc1")
        .raft(MockRaft::voters(["bob", "alice"]).at("alice"))
        .authorizer(AllowAll)
        .peers(peers.clone())
        .deadline(Duration::from_secs(10))
        .leader_wait(Duration::from_secs(7))
        .build()
        .unwrap();
    let caller = anyone();
    let removal = alice.remove_peer(&caller, carol(), None);
    let election = async {
        tokio::time::sleep(Duration::from_secs(6)).await;
        let leads = |_| async { Ok(OperatorReply::PeerRemoved) };
        drop(peers.clone().with_answer(server("bob"), leads));
    };
    let (removed, ()) = tokio::join!(removal, election);
    removed.unwrap();
    let last = peers.sent().pop().unwrap();
    assert!(last.timeout.unwrap() < Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn authorization_time_is_deducted_for_remote_calls() {
    let peers = MockPeers::new().with_answer(datacenter("dc2"), |_| async {
        Err(ErrorKind::NoLeader.into())
    });
    let service = OperatorService::builder("dc1")
        .keyring(MockKeyring::new(Pool::Lan, first_key(), ["alice"]))
        .authorizer(keyring::Slow(Duration::from_secs(1)))
        .peers(peers.clone())
        .keyring_deadline(Duration::from_secs(5))
        .build()
        .unwrap();
    let error = service.install_key(&anyone(), new_key()).await.unwrap_err();
    assert_eq!(error.reply().unwrap().rings.len(), 2);
    let sent = peers.sent().remove(0);
    assert!(sent.timeout.unwrap() < Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn write_that_was_never_sent_is_not_applied_at_the_deadline() {
    // Bob cannot be reached, and then Raft does not answer.
    let raft = MockRaft::voters(["bob", "alice"]).at("alice");
    let service = OperatorService::builder("dc1")
        .raft(Views::new(raft, Ok(())))
        .authorizer(AllowAll)
        .leader_wait(Duration::from_secs(7))
        .build()
        .unwrap();
    let error = service.remove_peer(&anyone(), carol(), None).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind().name(), "deadline-exceeded");
    assert_eq!(error.outcome(), Outcome::NotApplied);
}

#[tokio::test(start_paused = true)]
async fn write_that_was_refused_is_not_applied_at_the_deadline() {
    for operation in [
        Operation::TransferLeadership { to: None },
        Operation::SetAutopilotConfiguration {
            configuration: AutopilotConfiguration::default(),
            expected_index: None,
        },
    ] {
        // The backend finds no leader, and then Raft does not answer.
        let service = OperatorService::builder("dc1")
            .raft(Views::new(MockRaft::voters(["alice", "bob"]), Ok(())))
            .autopilot(Leaderless)
            .authorizer(AllowAll)
            .leader_wait(Duration::from_secs(7))
            .build()
            .unwrap();
        let answer = service.call(OperatorRequest::new(operation)).await;
        let error = answer.unwrap_err();
        assert_eq!(error.kind().name(), "deadline-exceeded");
        assert_eq!(error.outcome(), Outcome::NotApplied);
    }
}

#[tokio::test]
async fn write_that_found_no_view_is_not_applied() {
    let unreadable = Err(OperatorError::backend("the state cannot be read"));
    let service = OperatorService::builder("dc1")
        .raft(Views::new(MockRaft::voters(["alice"]), unreadable))
        .authorizer(AllowAll)
        .build()
        .unwrap();
    let error = service.remove_peer(&anyone(), carol(), None).await;
    assert_eq!(error.unwrap_err().outcome(), Outcome::NotApplied);
}
