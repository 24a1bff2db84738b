//! Answers that get lost on their way.

use super::world::{World, err, out};

const CREATE: [&str; 9] = [
    "token",
    "create",
    "--account",
    "main",
    "--signal",
    "logs",
    "--name",
    "N",
    "--json",
];

#[test]
fn what_makes_something_is_asked_for_again_under_the_same_key() {
    let made = r#"{"id":4,"token":"whf_s_new","name":"N"}"#;
    let world = World::new(&[(0, ""), (0, ""), (201, made)]);
    let output = world.run(&CREATE);
    assert_eq!(out(&output), format!("{made}\n"), "{}", err(&output));
    let seen = world.seen();
    assert_eq!(seen[0].key.len(), 32, "drawn at random");
    assert!(
        seen.iter()
            .all(|request| request.key == seen[0].key && request.body == seen[0].body)
    );
}

#[test]
fn a_key_of_the_persons_own_is_sent_and_an_answer_that_never_comes_ends_the_command() {
    let world = World::new(&[(0, ""), (0, ""), (0, "")]);
    let mut arguments = CREATE.to_vec();
    arguments.extend(["--idempotency-key", "release-7"]);
    let output = world.run(&arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("no usable answer"),
        "{}",
        err(&output)
    );
    assert!(
        world
            .seen()
            .iter()
            .all(|request| request.key == "release-7")
    );
}

#[test]
fn what_makes_nothing_is_asked_for_once_and_has_no_key() {
    let world = World::new(&[(0, "")]);
    let output = world.run(&["token", "revoke", "4"]);
    assert_eq!(output.status.code(), Some(1));
    let seen = world.seen();
    assert_eq!((seen.len(), seen[0].key.as_str()), (1, ""));
}
