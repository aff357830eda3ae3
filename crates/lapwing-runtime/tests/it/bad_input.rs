//! Requests and models that cannot be served, each with its message.

use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;

use lapwing_logits::{Level, SamplerOptions};
use lapwing_runtime::{Request, Session, generate};

use crate::models::{Fault, faulty, session};
use crate::request;

/// The chain of messages, and how many events came before.
fn check(session: &mut Session, request: &Request<'_>, n_events: usize, expected: &[&str]) {
    let mut n_found = 0;
    let error = generate(session, request, &mut |_| {
        n_found += 1;
        ControlFlow::Continue(())
    })
    .expect_err("the request cannot be served");
    let mut messages = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        messages.push(error.to_string());
        source = error.source();
    }
    assert_eq!(messages, expected);
    assert_eq!(n_found, n_events);
}

#[test]
fn wrong_requests_are_refused_before_any_work() {
    let mut session = session(20, 4, true);
    let mut refused = |request: &Request<'_>, expected: &[&str]| {
        check(&mut session, request, 0, expected);
        assert!(session.seen().is_empty());
    };
    refused(&request(&[]), &["cannot generate from an empty prompt: expected at least one token"]);
    refused(&request(&[1, 2, 3, 4, 5]), &["prompt of 5 tokens is too long: the context holds 4"]);
    refused(&request(&[1, 20, 3]), &["token 20 at position 1 is not in the vocabulary of 20"]);
    let sampler = SamplerOptions { top_p: 2.0, ..SamplerOptions::greedy() };
    refused(
        &Request { sampler: &sampler, ..request(&[1]) },
        &["cannot choose tokens as asked", "sampling option top_p must be from 0 to 1, found 2"],
    );
}

#[test]
fn a_failing_model_ends_with_what_failed() {
    let session = |fault| Session::new(Arc::new(faulty(fault)), Level::detect()).unwrap();
    check(
        &mut session(Fault::StepAt(1)),
        &request(&[1, 2]),
        0,
        &[
            "cannot go on after 0 generated tokens",
            "faulty failed after 0 positions",
            "the cable fell out",
        ],
    );
    check(
        &mut session(Fault::StepAt(3)),
        &request(&[1, 2]),
        3,
        &[
            "cannot go on after 2 generated tokens",
            "faulty failed after 3 positions",
            "the cable fell out",
        ],
    );
    check(
        &mut session(Fault::NanFrom(3)),
        &request(&[1, 2]),
        3,
        &[
            "cannot choose generated token 2",
            "cannot choose from logits with NaN: first at token 0",
        ],
    );
}
