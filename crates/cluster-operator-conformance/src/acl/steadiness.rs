//! That answers do not depend on each other.

use futures_util::future::join_all;

use super::AclFixture;
use super::ask::{ALL, asked, tokens};
use crate::poll::given_up;
use crate::verdict::{Stop, Verdict, same};
use cluster_operator::acl::{Access, AclError, Resource, Token};

type Question = (Option<Token>, Resource, Access);

/// Every question there is: the tokens, one that nobody has, and none.
fn questions(acl: &dyn AclFixture) -> Result<Vec<Question>, Stop> {
    let tokens = tokens::<3>(acl)?.into_iter().map(Some);
    let tokens = tokens.chain([Some(Token::new("nobody's")), None]);
    let all =
        |token: Option<Token>| ALL.map(|(resource, access)| (token.clone(), resource, access));
    Ok(tokens.flat_map(all).collect())
}

async fn answers(acl: &dyn AclFixture, questions: &[Question]) -> Vec<Result<(), AclError>> {
    let mut answers = Vec::new();
    for (token, resource, access) in questions {
        answers.push(asked(acl, token.as_ref(), *resource, *access).await);
    }
    answers
}

pub(super) async fn an_answer_does_not_depend_on_earlier_ones(acl: &dyn AclFixture) -> Verdict {
    let mut questions = questions(acl)?;
    let first = answers(acl, &questions).await;
    let again = answers(acl, &questions).await;
    same("the same answers once more", &first, &again)?;
    questions.reverse();
    let mut backwards = answers(acl, &questions).await;
    backwards.reverse();
    same("the same answers, asked for backwards", &first, &backwards)
}

pub(super) async fn answers_at_once_are_not_mixed_up(acl: &dyn AclFixture) -> Verdict {
    let questions = questions(acl)?;
    let expected = answers(acl, &questions).await;
    for _ in 0..4 {
        let at_once = questions
            .iter()
            .map(|(token, resource, access)| asked(acl, token.as_ref(), *resource, *access));
        let seen = join_all(at_once).await;
        same("the same answers, asked for at once", &expected, &seen)?;
    }
    Ok(())
}

pub(super) async fn a_dropped_question_leaves_the_next_one_alone(acl: &dyn AclFixture) -> Verdict {
    let questions = questions(acl)?;
    let expected = answers(acl, &questions).await;
    for polls in 0..3 {
        for (token, resource, access) in &questions {
            let question = asked(acl, token.as_ref(), *resource, *access);
            given_up(acl, polls, question).await;
        }
        let seen = answers(acl, &questions).await;
        same("the same answers", &expected, &seen)?;
    }
    Ok(())
}
