//! What the ACL checks ask of an authorizer, recorded step by step.

use std::collections::BTreeSet;
use std::future::ready;
use std::iter::zip;

use futures_util::future::join_all;

use super::{Acl, AclFixture};
use crate::check::Checking;
use crate::poll::given_up;
use crate::steps::Steps;
use crate::traces::{PART, tells_part};
use crate::verdict::{Stop, Verdict, ensure};
use crate::wanted::Wanted;
use cluster_operator::acl::{Access, AclError, Identity, Resource, Token};

/// Everything that can be asked for.
pub(super) const ALL: [(Resource, Access); 4] = [
    (Resource::Operator, Access::Read),
    (Resource::Operator, Access::Write),
    (Resource::Keyring, Access::Read),
    (Resource::Keyring, Access::Write),
];

/// Of a shorter secret, a part is soon in a text by chance.
const LETTERS: usize = 16;

/// So is a part of one that is almost all zeros.
const DIFFERENT: usize = 8;

/// A fixture's authorizer, with the steps that a check takes on it.
#[derive(Clone, Copy)]
pub(super) struct Authorizer<'a> {
    pub(super) fixture: &'a dyn AclFixture,
    steps: &'a Steps,
}

/// A token, or none, and what a report calls it: never by its secret.
#[derive(Clone)]
pub(super) struct Bearer {
    name: String,
    pub(super) token: Option<Token>,
}

/// Who asks, and for what.
pub(super) type Question<'a> = (&'a Bearer, Resource, Access);

/// Whether it is allowed, without who it is.
type Answer = Result<(), AclError>;

impl Bearer {
    /// Someone who shows no token.
    pub(super) fn anonymous() -> Self {
        Bearer {
            name: "no token".into(),
            token: None,
        }
    }

    pub(super) fn new(name: impl Into<String>, secret: &str) -> Self {
        Bearer {
            name: name.into(),
            token: Some(Token::new(secret)),
        }
    }
}

impl Wanted<dyn AclFixture> for Acl {
    fn ready<'a>(&'a self, acl: &'a (dyn AclFixture + 'static)) -> Checking<'a> {
        Box::pin(ready(are_good(&acl.tokens(), self.tokens.len())))
    }
}

fn are_good(tokens: &[Token], wanted: usize) -> Verdict {
    let expected = format_args!("{wanted} tokens from the fixture, as was wanted");
    let seen = tokens.len();
    ensure(seen == wanted, expected, format_args!("{seen}"))?;
    for (number, token) in (1..).zip(tokens) {
        let letters = token.expose().chars().count();
        let different = token.expose().chars().collect::<BTreeSet<_>>().len();
        let expected = format_args!(
            "secrets from the fixture of at least {LETTERS} letters, {DIFFERENT} different ones \
             among them, so that no part of them is in a text by chance"
        );
        let seen = format_args!("number {number} has {letters} letters, {different} different");
        ensure(letters >= LETTERS && different >= DIFFERENT, expected, seen)?;
        let same = tokens.iter().position(|first| first == token);
        let first = same.map_or(number, |first| first + 1);
        let seen = format_args!("number {first} and number {number} are the same");
        ensure(first == number, "different secrets from the fixture", seen)?;
    }
    Ok(())
}

impl<'a> Authorizer<'a> {
    pub(super) fn new(fixture: &'a dyn AclFixture, steps: &'a Steps) -> Self {
        Authorizer { fixture, steps }
    }

    pub(super) fn step(&self, step: impl Into<String>) {
        self.steps.add(step);
    }

    /// The tokens that the check wanted, as many as it wanted.
    pub(super) fn tokens<const N: usize>(&self) -> Result<[Bearer; N], Stop> {
        let named = |(number, token)| Bearer {
            name: format!("token {number}"),
            token: Some(token),
        };
        let tokens: Vec<_> = (1..).zip(self.fixture.tokens()).map(named).collect();
        tokens.try_into().map_err(|tokens: Vec<_>| {
            let seen = format!("{} of them", tokens.len());
            Stop::failed(format!("{N} tokens from the fixture"), seen)
        })
    }

    /// Asks, and says who it is.
    pub(super) async fn identity(
        &self,
        (bearer, resource, access): Question<'_>,
    ) -> Result<Identity, AclError> {
        let authorizer = self.fixture.authorizer();
        let token = bearer.token.as_ref();
        let answer = authorizer.authorize(token, resource, access).await;
        // No more than that: the words of an error may tell the secret.
        let told = match &answer {
            Ok(_) => "allowed",
            Err(AclError::Denied { .. }) => "Denied",
            Err(AclError::UnknownToken) => "UnknownToken",
            Err(AclError::Unavailable { .. }) => "Unavailable",
            Err(_) => "another error",
        };
        self.step(format!("{}, {resource}:{access}: {told}", bearer.name));
        answer
    }

    pub(super) async fn ask(&self, question: Question<'_>) -> Answer {
        self.identity(question).await.map(|_| ())
    }

    pub(super) async fn allows(&self, question: Question<'_>) -> Verdict {
        let answer = self.ask(question).await;
        ensure(answer.is_ok(), expected("allowed", question), answer)
    }

    pub(super) async fn denies(&self, question: Question<'_>) -> Verdict {
        let answer = self.ask(question).await;
        let denied = matches!(answer, Err(AclError::Denied { .. }));
        ensure(denied, expected("Denied", question), answer)
    }

    /// That a token is nobody's, whatever is asked for.
    pub(super) async fn does_not_know(&self, bearer: &Bearer) -> Verdict {
        for (resource, access) in ALL {
            let question = (bearer, resource, access);
            let answer = self.ask(question).await;
            let unknown = answer == Err(AclError::UnknownToken);
            ensure(unknown, expected("UnknownToken", question), answer)?;
        }
        Ok(())
    }

    /// The answers to these questions, asked one after another.
    pub(super) async fn ask_all(&self, questions: &[Question<'_>]) -> Vec<Answer> {
        let mut answers = Vec::new();
        for question in questions {
            answers.push(self.ask(*question).await);
        }
        answers
    }

    /// The answers to these questions, asked at once.
    pub(super) async fn ask_at_once(&self, questions: &[Question<'_>]) -> Vec<Answer> {
        self.step("at once:");
        join_all(questions.iter().map(|question| self.ask(*question))).await
    }

    /// Asks each of these questions, and drops it after so many polls.
    pub(super) async fn drop_all(&self, polls: usize, questions: &[Question<'_>]) {
        self.step(format!("each question dropped after {polls} polls:"));
        for question in questions {
            given_up(self.fixture, polls, self.ask(*question)).await;
        }
    }
}

fn expected(answer: &str, (bearer, resource, access): Question<'_>) -> String {
    format!("{}, {resource}:{access}: {answer}", bearer.name)
}

/// That questions were answered as before.
pub(super) fn same_answers(
    how: &str,
    questions: &[Question<'_>],
    before: &[Answer],
    seen: &[Answer],
) -> Verdict {
    for (question, (before, seen)) in zip(questions, zip(before, seen)) {
        let expected = expected(&format!("{before:?} as before, {how}"), *question);
        ensure(seen == before, expected, seen)?;
    }
    Ok(())
}

/// That an error has no part of the secret that was shown.
pub(super) fn tells_nothing(bearer: &Bearer, error: &AclError) -> Verdict {
    let secret = bearer.token.as_ref().map_or("", Token::expose);
    let tells = tells_part(&format!("{error} {error:?}"), secret.as_bytes());
    let expected = format_args!("an error without {PART} letters of the secret in a row");
    ensure(!tells, expected, format_args!("an error with a part of it"))
}
